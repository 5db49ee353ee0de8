// What CLI11 says of a command line that it cannot parse, in our words.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "libopt/support/status.h"

namespace onnxtool {

/// The failure of app.parse(): unknown commands and flags list close candidates.
Error usage_error(CLI::App& app, const CLI::ParseError& failure);

/// `onnxtool diff [OPTION...] REFERENCE [TEST]`: what may be left out is in brackets.
std::string usage_line(const CLI::App& command);

/// The flag's value that a validator refused, for a setting's error: CLI11's text without the name.
std::string value_error(const CLI::Error& failure);

}  // namespace onnxtool
