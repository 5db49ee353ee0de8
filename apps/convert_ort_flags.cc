#include "apps/convert_ort_flags.h"

#include <fmt/format.h>

#include <utility>

#include "apps/config.h"
#include "apps/flags.h"
#include "apps/verification.h"

namespace onnxtool {

void add_convert_ort_flags(CLI::App& c, ConvertOrtOptions& o) {
  add_text(
      c, o.files.model,
      {"MODEL", "FILE", "Model (.onnx, .ort), or a directory of them; - is stdin", "Arguments"})
      ->required();
  const std::string out = "Output", how = "Conversion";
  add_text(c, o.files.output,
           {"-o,--output", "PATH",
            "The file, or the directory, to write; - is stdout (default: MODEL with .ort)", out});
  add_switch(
      c, o.files.force,
      {"--force", "",
       "Replace existing files of default names; one named with -o is always replaced", out});
  add_switch(c, o.no_clobber, {"--no-clobber", "", "Never replace a file", out});
  add_switch(
      c, o.allow_failures,
      {"--allow-conversion-failures", "", "Of a directory, convert what can be converted", out});
  add_choice(c, o.to, {"--to", "ort|onnx", "The format to write", how});
  add_choice(
      c, o.files.style,
      {"--style", "fixed|runtime|both",
       "Runtime also records fusions for the runtime to do, in NAME.with_runtime_opt.ort", how});
  add_choice(c, o.level,
             {"--level", "disable|basic|extended|all",
              "What to optimize before; extended also fuses to operators of com.microsoft and to "
              "integer ones, all to what is best for --arch",
              how});
  add_choice(
      c, o.arch,
      {"--arch", "arm|amd64",
       "The processor that --level all is for; amd64 makes signed 8-bit activations unsigned",
       how});
  add_verify_flag(c, o.verify, how);
  add_text(c, o.runtime,
           {"--runtime", "RELEASE",
            "The oldest release that must load the file: ort-1.13 to ort-1.31 (default: ort-1.31)",
            how});
  add_text(c, o.custom_operators,
           {"--custom-ops", "FILE",
            "Operators of libraries that will be registered: [[operator]] with domain, name and "
            "since_version",
            how});
  const std::string devices = "Builds and devices";
  add_switch(
      c, o.ops_config,
      {"--ops-config", "",
       "Write the operators that a reduced build needs beside the file, or into the directory",
       devices});
  add_switch(
      c, o.type_reduction,
      {"--type-reduction", "", "Write them, with the types that each is used with", devices});
  add_mobile_flags(c, o.mobile, devices);
  add_report_flags(c, o.common);
  add_verdict_flags(c, o.common);
  add_config_flags(c);
  c.footer(
      "Example: onnxtool convert-ort resnet.onnx -o resnet.ort\nAll models of a directory: "
      "onnxtool convert-ort models/ -o mobile/");
}

Status check_flags_of_ort(const ConvertOrtOptions& o) {
  if (o.to == "ort" && o.arch != "arm" && o.level != "all")
    return Error{ErrorCode::kUsage,
                 fmt::format("--arch says what --level all is for, and the level is {}", o.level),
                 "add --level all, or leave --arch out"};
  if (o.to != "onnx") return {};
  const ConvertOrtOptions defaults;
  const std::pair<const char*, bool> given[] = {{"--style", o.files.style != defaults.files.style},
                                                {"--level", o.level != defaults.level},
                                                {"--arch", o.arch != defaults.arch},
                                                {"--verify", o.verify != defaults.verify},
                                                {"--runtime", !o.runtime.empty()},
                                                {"--custom-ops", !o.custom_operators.empty()},
                                                {"--check-mobile", o.mobile.check}};
  for (const auto& [flag, is_given] : given)
    if (is_given)
      return Error{ErrorCode::kUsage, std::string(flag) + " is for .ort files, and --to is onnx",
                   "onnxtool optimize and inspect work on what --to onnx writes"};
  return {};
}

}  // namespace onnxtool
