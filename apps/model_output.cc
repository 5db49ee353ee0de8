#include "apps/model_output.h"

#include <algorithm>
#include <filesystem>

#include "apps/flags.h"

namespace onnxtool {

namespace fs = std::filesystem;

void add_output_flags(CLI::App& c, OutputFlags& f, const std::string& suffix,
                      const std::string& what) {
  const std::string out = "Output";
  add_text(c, f.output,
           {"-o,--output", "FILE",
            "Where the " + what + " goes; - is stdout (default: MODEL with " + suffix + ")", out});
  add_switch(
      c, f.force,
      {"--force", "",
       "Replace an existing file of the default name; one named with -o is always replaced", out});
  add_switch(c, f.no_clobber, {"--no-clobber", "", "Never replace a file", out});
  add_switch_with_value(c, f.data_name,
                        {"--external-data", "NAME",
                         "Put weights into a data file beside the model (default name: its own "
                         "with 8 hex digits and .data)",
                         out});
}

Result<std::string> output_path(const OutputFlags& f, const std::string& model,
                                const std::string& suffix) {
  if (!f.output.empty()) return f.output;
  if (model == "-")
    return Error{ErrorCode::kUsage, "the model comes from stdin, so its output needs a name",
                 "add -o FILE, or -o - for stdout"};
  const std::string path =
      (model.ends_with(".onnx") ? model.substr(0, model.size() - 5) : model) + suffix;
  std::error_code ignored;
  if (fs::exists(path, ignored) && !f.force)
    return Error{ErrorCode::kUsage, path + ": exists already",
                 "replace it with --force, or name an output with -o"};
  return path;
}

SaveOptions save_options(const CLI::App& command, const OutputFlags& f) {
  SaveOptions save;
  save.external_data = command.get_option("--external-data")->count() > 0;
  save.data_name = f.data_name;
  save.no_clobber = f.no_clobber;
  return save;
}

int64_t bytes_on_disk(const Model& model, const std::string& path) {
  std::vector<std::string> files = payload_files(model);
  if (path != "-" && std::ranges::find(files, path) == files.end()) files.push_back(path);
  int64_t sum = 0;
  for (const std::string& f : files) {
    std::error_code error;
    if (const auto size = fs::file_size(f, error); !error) sum += static_cast<int64_t>(size);
  }
  return sum;
}

}  // namespace onnxtool
