// onnxtool.toml: defaults for flags, below what the command line says.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "apps/command.h"

namespace onnxtool {

/// Adds --config and --no-config, which every command that works on models has.
void add_config_flags(CLI::App& command);

/// Reads --config FILE, else ./onnxtool.toml if it exists, and sets every flag of the command's table
/// that the command line left alone. Keys are long flag names without dashes. Unknown keys and
/// values of the wrong kind are kUsage. A file in use is named on stderr.
Status apply_config(CLI::App& command, const Streams& streams);

/// A parse failure in our words, with close candidates for unknown names.
Error usage_error(const CLI::App& app, const std::vector<std::string>& arguments, const std::string& what, const std::string& help);

}  // namespace onnxtool
