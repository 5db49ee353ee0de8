// onnxtool schema: what the JSON reports of a command look like, as JSON Schema.
#include <fmt/format.h>

#include <ostream>

#include "apps/command.h"
#include "apps/flags.h"
#include "apps/report/schema.h"

namespace onnxtool {
namespace {

// Commands that take --report.
std::vector<std::string> reporting_commands() {
  std::vector<std::string> out;
  Run run;
  const auto app = make_app(run);
  for (const CLI::App* c : app->get_subcommands({}))
    if (c->get_option_no_throw("--report")) out.push_back(c->get_name());
  return out;
}

Result<int> print_schema(const std::string& command, const Streams& streams) {
  const std::vector<std::string> known = reporting_commands();
  if (!command.empty() && std::find(known.begin(), known.end(), command) == known.end())
    return Error{ErrorCode::kUsage, fmt::format("'{}' writes no reports", command),
                 fmt::format("commands that do: {}", fmt::join(known, ", "))};
  streams.out << report_schema(command.empty() ? known : std::vector{command});
  return 0;
}

Run add(CLI::App& command) {
  auto name = std::make_shared<std::string>();
  add_text(command, *name,
           {"COMMAND", "COMMAND", "Of this command's reports; without one, of all commands'",
            "Arguments"});
  command.footer("Example: onnxtool schema diff > diff.schema.json");
  return [name](const Streams& streams) { return print_schema(*name, streams); };
}

}  // namespace

extern constinit const CommandInfo kSchemaCommand{
    "schema", "Print the JSON Schema of the reports that --json writes", add};

}  // namespace onnxtool
