#include "apps/optimize_flags.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "apps/config.h"
#include "apps/flags.h"
#include "apps/verification.h"
#include "libopt/convert/lower_opset.h"
#include "passes/pass.h"

namespace onnxtool {

void add_optimize_flags(CLI::App& c, OptimizeOptions& o) {
  add_text(c, o.model, {"MODEL", "FILE", "Model (.onnx); - is stdin", "Arguments"})->required();
  const std::string how = "Optimization", shapes = "Shapes and versions";
  add_output_flags(c, o.output, kOptimizedSuffix);
  add_verify_flag(c, o.verify, "Output");
  add_text(c, o.repro,
           {"--repro", "DIR",
            "Where verification fails, write the nodes that were rewritten wrongly, before and "
            "after, with inputs that show it",
            "Output"});
  add_choice(c, o.level,
             {"--level", "basic|extended",
              "Which passes run (docs/passes.md): basic writes the standard's operators only, "
              "extended those too that the target has besides",
              how});
  add_choice(
      c, o.target,
      {"--target", "portable|ort-cpu", "Runtime that will run the model; portable means any", how});
  add_list(c, o.passes,
           {"--passes", "NAME[,NAME]", "Run only these passes (docs/passes.md lists them)", how});
  add_list(c, o.disable, {"--disable", "NAME[,NAME]", "Leave these passes out", how});
  add_list(c, o.keep,
           {"--keep", "SELECTOR",
            "Leave these nodes as they are: op:TYPE, name:GLOB, or @FILE with one a line", how});
  add_integer(
      c, o.max_growth, int64_t{0}, int64_t{1} << 50,
      {"--max-growth", "BYTES", "How much larger folding may make the file (default: 0)", how});
  add_switch_with_value(c, o.explain_what,
                        {"--explain", "PASS|SELECTOR",
                         "Show what passes came close to and did not do, and why: of one pass, of "
                         "op:TYPE or name:GLOB, or counted",
                         how});
  add_list(c, o.shapes.dims, {"--dim", "NAME=N", "Make a named dynamic dimension N", shapes});
  add_list(c, o.shapes.input_shapes,
           {"--input-shape", "INPUT=DIMS", "Make the shape of an input static, as in x=1,3,224,224",
            shapes});
  add_list(c, o.assume,
           {"--assume", "NAME=LOW..HIGH",
            "Rely on a named dynamic dimension being in this range; without HIGH it has no upper "
            "end. It is noted in the model",
            shapes});
  add_subgraph_flags(c, o.part, shapes);
  add_switch(c, o.freeze,
             {"--freeze", "",
              "Make inputs that have a default constants, as exporters mean them that list weights "
              "among the inputs",
              shapes});
  add_switch(
      c, o.strip,
      {"--strip", "",
       "Leave out doc strings, metadata of nodes and values, and names of nodes; the model's "
       "own metadata stays",
       shapes});
  add_switch(c, o.provenance,
             {"--provenance", "",
              "Note in the model which nodes of the original each node was made of; diff "
              "--per-layer reads it",
              shapes})
      ->excludes(c.get_option("--strip"));
  add_integer(
      c, o.opset, 1, kMaxConvertTarget,
      {"--opset", "N", "Raise or lower the version of the standard operators to N", shapes});
  add_integer(c, o.allow_opset, 1, kMaxConvertTarget,
              {"--allow-opset", "N",
               "Raise that version up to N where a fusion needs an operator that is newer", shapes})
      ->excludes(c.get_option("--opset"));
  add_common_flags(c, o.common, /*chooses_kernels=*/false);
  add_config_flags(c);
  c.footer("Example: onnxtool optimize resnet.onnx -o resnet.opt.onnx");
}

namespace {

Result<std::set<std::string>> pass_names(const std::string& flag,
                                         const std::vector<std::string>& lists) {
  std::vector<std::string> known;
  for (const PassInfo* p : all_passes()) known.emplace_back(p->name);
  std::set<std::string> out;
  for (const std::string& list : lists)
    for (size_t start = 0; start <= list.size();) {
      const size_t end = std::min(list.find(',', start), list.size());
      const std::string name = list.substr(start, end - start);
      start = end + 1;
      if (find_pass(name)) {
        out.insert(name);
        continue;
      }
      const std::string hint = did_you_mean(name, known);
      return Error{ErrorCode::kUsage, fmt::format("{}: there is no pass '{}'", flag, name),
                   hint.empty() ? fmt::format("there are: {}", fmt::join(known, ", ")) : hint};
    }
  return out;
}

}  // namespace

bool writes_foreign_operators(const OptimizeOptions& o) {
  return o.level == "extended" && o.target != "portable";
}

Result<std::vector<const PassInfo*>> chosen_passes(const OptimizeOptions& o) {
  ONNXTOOL_ASSIGN(const auto only, pass_names("--passes", o.passes));
  ONNXTOOL_ASSIGN(const auto without, pass_names("--disable", o.disable));
  const bool extended = writes_foreign_operators(o);
  for (const std::string& name : only) {
    if (find_pass(name)->level == Level::kAll)
      return Error{
          ErrorCode::kUsage,
          fmt::format("--passes: {} is for files that the runtime loads as they are", name),
          "onnxtool convert-ort --level all runs it"};
    if (!extended && find_pass(name)->level == Level::kExtended)
      return Error{ErrorCode::kUsage,
                   fmt::format("--passes: {} writes operators that only some runtimes have", name),
                   "--level extended --target ort-cpu permits it"};
  }
  std::vector<const PassInfo*> chosen;
  for (const PassInfo* p : optimization_pipeline(extended ? Level::kExtended : Level::kBasic))
    if ((only.empty() || only.contains(std::string(p->name))) &&
        !without.contains(std::string(p->name)))
      chosen.push_back(p);
  if (!only.empty() && chosen.empty())
    return Error{ErrorCode::kUsage, "--disable leaves out all that --passes names", {}};
  return chosen;
}

std::vector<NamedPath> inputs_of(const OptimizeOptions& o) {
  std::vector<NamedPath> in = {{"MODEL", o.model}, {"--config", o.settings_file}};
  for (const std::string& selector : o.keep)
    if (selector.starts_with("@")) in.push_back({"selector", selector.substr(1)});
  return in;
}

}  // namespace onnxtool
