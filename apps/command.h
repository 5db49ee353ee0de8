// What a subcommand is, and what it may use of the process.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <iosfwd>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libopt/support/status.h"

namespace onnxtool {

/// Where a command writes: results to out, everything else to err.
struct Streams {
  std::ostream& out;
  std::ostream& err;
  bool err_is_terminal = false;
  size_t width = 100;  // of a line of help
};

/// Runs the command and gives the exit code; an Error is printed by the caller.
using Run = std::function<Result<int>(const Streams&)>;

struct CommandInfo {
  std::string_view name;
  std::string_view summary;
  /// Adds flags to the subcommand and returns what runs it; options live in the closure.
  Run (*add)(CLI::App& command);
};

std::span<const CommandInfo* const> all_commands();

#define COMMAND(id) extern const CommandInfo id;
#include "apps/commands.def"
#undef COMMAND

/// The whole command tree; `run` is set by parsing to what was asked for.
std::unique_ptr<CLI::App> make_app(Run& run);

/// Parses and runs; catches nothing but what parsing throws. Exit codes as documented.
int run_command_line(const std::vector<std::string>& arguments, const Streams& streams);

/// `error[code]: message` and `hint: ...`.
void print_error(std::ostream& err, const Error& error);

}  // namespace onnxtool
