// --show-settings: what a command would run with, and where each value comes from.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "apps/command.h"
#include "apps/config.h"

namespace onnxtool {

/// Whether the command line asks for them. Nothing else is required of it then.
bool asks_for_settings(const std::vector<std::string>& arguments);

/// Writes them instead of running the command: flags and arguments that are given or have a
/// default, as text or as --json and --report ask; JSON has those without a value, too.
Result<int> show_settings(const CLI::App& command, const SettingsInUse& settings,
                          const Streams& streams);

}  // namespace onnxtool
