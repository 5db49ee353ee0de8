// `quantize --emit-recipe`: a settings file that repeats what a run did.
#pragma once

#include <CLI/CLI.hpp>

#include <string>
#include <vector>

namespace onnxtool {

/// A setting by its long name; a switch has no value.
struct Setting {
  std::string name;
  std::vector<std::string> values;
  bool is_switch = false, is_list = false;
};

/// What the command line and the settings file gave, less what says where results and reports go
/// and how a run shows itself.
std::vector<Setting> given_settings(const CLI::App& command);

/// TOML for --config. `decided` is what the run found out: its lists add to those given, its other
/// values replace them, and one without values takes the setting out.
std::string recipe_text(std::vector<Setting> given, const std::vector<Setting>& decided);

}  // namespace onnxtool
