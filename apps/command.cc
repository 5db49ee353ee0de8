#include "apps/command.h"

#include <fmt/format.h>

#include <ostream>

#include "apps/config.h"
#include "apps/report/report.h"

namespace onnxtool {
namespace {

constexpr const CommandInfo* kAll[] = {
#define COMMAND(id) &id,
#include "apps/commands.def"
#undef COMMAND
};

}  // namespace

std::span<const CommandInfo* const> all_commands() { return kAll; }

void print_error(std::ostream& err, const Error& error) {
  err << "error[" << error_name(error.code) << "]: " << printable(error.message) << "\n";
  if (!error.hint.empty()) err << "hint: " << printable(error.hint) << "\n";
}

std::unique_ptr<CLI::App> make_app(Run& run) {
  auto app = std::make_unique<CLI::App>("Checks, optimizes, quantizes and compares ONNX models.", "onnxtool");
  app->set_version_flag("--version", std::string("onnxtool ") + ONNXTOOL_VERSION);
  app->require_subcommand(1);
  app->get_formatter()->column_width(34);
  app->footer("Exit codes: 0 done, 1 the answer is no, 2 no answer (usage, input, unsupported, write), 3 a bug.\n"
              "Details of a command: onnxtool COMMAND --help");
  for (const CommandInfo* info : kAll) {
    CLI::App* sub = app->add_subcommand(std::string(info->name), std::string(info->summary));
    Run body = info->add(*sub);
    sub->final_callback([&run, body] { run = body; });
  }
  return app;
}

int run_command_line(const std::vector<std::string>& arguments, const Streams& streams) {
  Run run;
  const auto app = make_app(run);
  try {
    std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
    app->parse(std::move(reversed));
  } catch (const CLI::CallForHelp&) {
    const auto chosen = app->get_subcommands();
    streams.out << (chosen.empty() ? app->help() : chosen[0]->help("onnxtool"));
    return 0;
  } catch (const CLI::CallForVersion& e) {
    streams.out << e.what() << "\n";
    return 0;
  } catch (const CLI::ParseError& e) {
    const auto chosen = app->get_subcommands();
    const std::string help = chosen.empty() ? "onnxtool --help" : "onnxtool " + chosen[0]->get_name() + " --help";
    print_error(streams.err, usage_error(*app, arguments, e.what(), help));
    return 2;
  }
  for (CLI::App* sub : app->get_subcommands())
    if (Status s = apply_config(*sub, streams); !s.ok()) {
      print_error(streams.err, s.error());
      return s.error().exit_code();
    }
  Result<int> code = run(streams);
  if (code.ok()) return *code;
  print_error(streams.err, code.error());
  return code.error().exit_code();
}

}  // namespace onnxtool
