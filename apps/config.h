// onnxtool.toml: defaults for flags, below what the command line says.
#pragma once

#include <CLI/CLI.hpp>
#include <set>
#include <string>

#include "apps/command.h"

namespace onnxtool {

/// Adds --config, --no-config and --show-settings, which every command that works on models has.
void add_config_flags(CLI::App& command);

/// What a settings file gave to a command.
struct SettingsInUse {
  std::string file;                           // empty: none
  std::set<const CLI::Option*> options = {};  // whose values are the file's
};

/// Reads --config FILE, else ./onnxtool.toml if it exists, and sets every flag of the command's
/// section that the command line left alone and does not exclude. Keys are long flag names without
/// dashes. Unknown sections and keys, and values of the wrong kind, are kUsage with file and line.
/// A file in use is named on stderr.
Result<SettingsInUse> apply_config(CLI::App& command, const Streams& streams);

/// Whether the command has this flag, and the command line or settings give it.
bool is_given(const CLI::App& command, const std::string& flag);

/// kUsage where the command line gives --seed and no random samples are drawn. Settings may have it
/// for those runs that do.
Status check_seed(const CLI::App& command, const SettingsInUse& settings);

/// The settings file that apply_config() reads; empty where there is none.
std::string settings_file(const CLI::App& command);

}  // namespace onnxtool
