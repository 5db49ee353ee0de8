// onnxtool.toml: defaults for flags, below what the command line says.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "apps/command.h"

namespace onnxtool {

/// Adds --config and --no-config, which every command that works on models has.
void add_config_flags(CLI::App& command);

/// Reads --config FILE, else ./onnxtool.toml if it exists, and sets every flag of the command's
/// section that the command line left alone and does not exclude. Keys are long flag names without
/// dashes. Unknown sections and keys, and values of the wrong kind, are kUsage with file and line.
/// A file in use is named on stderr.
Status apply_config(CLI::App& command, const Streams& streams);

/// The settings file that apply_config() reads; empty where there is none.
std::string settings_file(const CLI::App& command);

}  // namespace onnxtool
