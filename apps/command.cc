#include "apps/command.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <new>
#include <ostream>
#include <system_error>

#include "apps/config.h"
#include "apps/files.h"
#include "apps/flags.h"
#include "apps/memory_limit.h"
#include "apps/report/report.h"
#include "apps/show_settings.h"
#include "apps/usage.h"

namespace onnxtool {
namespace {

constexpr const CommandInfo* kAll[] = {
#define COMMAND(id) &id,
#include "apps/commands.def"
#undef COMMAND
};

// `onnxtool help [COMMAND]` is `onnxtool [COMMAND] --help`.
std::vector<std::string> without_help_command(std::vector<std::string> arguments) {
  if (arguments.empty() || arguments[0] != "help") return arguments;
  arguments.erase(arguments.begin());
  arguments.resize(std::min<size_t>(arguments.size(), 1));
  arguments.emplace_back("--help");
  return arguments;
}

// For commands that read models: those that can be told to be quiet about it.
std::shared_ptr<const std::string> add_memory_flag(CLI::App& command) {
  if (!command.get_option_no_throw("--quiet")) return nullptr;
  const auto size = std::make_shared<std::string>();
  add_text(
      command, *size,
      {"--max-memory", "SIZE",
       "Fail before more memory than this is taken, as in 2G (default: what the cgroup allows)",
       "Running"});
  return size;
}

Result<int> run_within_memory(const Run& run, const Streams& streams) {
  try {
    Result<int> code = run(streams);
    if (!code.ok() && code.error().code == ErrorCode::kOutOfMemory)
      return out_of_memory(std::move(code).error());
    return code;
  } catch (const std::bad_alloc&) {
    return out_of_memory({ErrorCode::kOutOfMemory, "out of memory", ""});
  } catch (const std::runtime_error& e) {
    // A thread needs memory for its stack. oneTBB says so in words only.
    const std::string_view what = e.what();
    if (what.find("pthread_create") == std::string_view::npos &&
        !dynamic_cast<const std::system_error*>(&e))
      throw;
    return out_of_memory(
        {ErrorCode::kOutOfMemory, "cannot start a thread: " + std::string(what), ""});
  }
}

// The command tree, with flags where `has_flags` says so of a command's name.
std::unique_ptr<CLI::App> make_app_of(Run& run,
                                      const std::function<bool(std::string_view)>& has_flags) {
  auto app = std::make_unique<CLI::App>(
      "onnxtool checks, optimizes, quantizes, inspects and compares ONNX models, and proves what "
      "it does.",
      "onnxtool");
  app->set_help_flag("-h,--help", "Print this help, or a command's");
  app->set_version_flag("-V,--version", std::string("onnxtool ") + ONNXTOOL_VERSION,
                        "Print the version");
  app->require_subcommand(1);
  app->allow_extras(false);
  app->footer(
      "Exit codes: 0 done; 1 ran, and the answer is no; 2 no answer (usage, input, unsupported\n"
      "operator, failed write); 3 a bug of onnxtool. A command's flags: onnxtool COMMAND --help");
  for (const CommandInfo* info : kAll) {
    CLI::App* sub = app->add_subcommand(std::string(info->name), std::string(info->summary));
    if (!has_flags(info->name)) continue;
    Run body = info->add(*sub);
    const auto memory = add_memory_flag(*sub);
    sub->set_help_flag("-h,--help", "Print this help")->group("Help");
    sub->final_callback([&run, body, memory] {
      run = [body, memory](const Streams& streams) -> Result<int> {
        if (memory) ONNXTOOL_TRY(limit_memory(*memory));
        return body(streams);
      };
    });
  }
  return app;
}

}  // namespace

std::span<const CommandInfo* const> all_commands() { return kAll; }

void print_error(std::ostream& err, const Error& error) {
  err << "error[" << error_name(error.code) << "]: " << printable(error.message) << "\n";
  if (!error.hint.empty()) err << "hint: " << printable(error.hint) << "\n";
}

std::unique_ptr<CLI::App> make_app(Run& run) {
  return make_app_of(run, [](std::string_view) { return true; });
}

int run_command_line(const std::vector<std::string>& given, const Streams& streams) {
  const std::vector<std::string> arguments = without_help_command(given);
  Run run;
  // Making the flags of all commands takes longer than starting the process.
  const auto app = make_app_of(run, [&](std::string_view command) {
    return std::ranges::find(arguments, command) != arguments.end();
  });
  const bool only_shows = asks_for_settings(arguments);
  if (only_shows)
    for (CLI::App* sub : app->get_subcommands({}))
      for (CLI::Option* o : sub->get_options()) o->required(false);
  try {
    std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
    app->parse(std::move(reversed));
  } catch (const CLI::CallForHelp&) {
    const auto chosen = app->get_subcommands();
    // Unknown words after `help` would otherwise go unnoticed.
    const auto extra = app->remaining();
    if (chosen.empty() && !extra.empty()) {
      print_error(streams.err, usage_error(*app, CLI::ExtrasError(extra)));
      return 2;
    }
    streams.out << help_text(chosen.empty() ? *app : *chosen[0], streams.width);
    return 0;
  } catch (const CLI::CallForVersion& e) {
    streams.out << e.what() << "\n";
    return 0;
  } catch (const CLI::ParseError& e) {
    if (arguments.empty()) streams.err << help_text(*app, streams.width) << "\n";
    print_error(streams.err, usage_error(*app, e));
    return 2;
  }
  CLI::App& chosen = *app->get_subcommands().at(0);
  auto settings = apply_config(chosen, streams);
  Status usable = settings.ok() ? check_seed(chosen, *settings) : settings.error();
  if (!usable.ok()) {
    print_error(streams.err, usable.error());
    return usable.error().exit_code();
  }
  Result<int> code =
      only_shows ? show_settings(chosen, *settings, streams) : run_within_memory(run, streams);
  if (code.ok()) return *code;
  Error error = std::move(code).error();
  // Whoever opens a file does not know the directory's other names; those of the place are at hand
  // here.
  if (const size_t colon = error.message.find(": ");
      error.code == ErrorCode::kNotFound && error.hint.empty() && colon != std::string::npos)
    error.hint = hint_for_missing(error.message.substr(0, colon));
  print_error(streams.err, error);
  return error.exit_code();
}

}  // namespace onnxtool
