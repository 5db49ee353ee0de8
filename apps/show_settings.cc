#include "apps/show_settings.h"

#include <fmt/format.h>

#include <algorithm>

#include "apps/flags.h"
#include "apps/model_flags.h"
#include "apps/report/report.h"

namespace onnxtool {
namespace {

// The command's own flags for reports, which it has not looked at.
CommonFlags report_flags(const CLI::App& command) {
  CommonFlags flags;
  flags.json = is_given(command, "--json");
  if (const CLI::Option* reports = command.get_option_no_throw("--report"))
    flags.reports = reports->results();
  return flags;
}

}  // namespace

bool asks_for_settings(const std::vector<std::string>& arguments) {
  const auto end = std::ranges::find(arguments, "--");
  return std::find(arguments.begin(), end, "--show-settings") != end;
}

Result<int> show_settings(const CLI::App& command, const SettingsInUse& settings,
                          const Streams& streams) {
  const CommonFlags flags = report_flags(command);
  ONNXTOOL_ASSIGN(const auto targets, report_targets(flags, false));
  Section section{"settings", "Settings", {}, {}, {}, false};
  section.fields.push_back(
      {"file", "file", settings.file.empty() ? Scalar() : Scalar(settings.file), ""});
  Table shown{"", "", {{"flag", "flag", ""}, {"value", "value", ""}, {"from", "from", ""}}, {}};
  shown.for_programs = false;
  Table all = shown;
  all.key = "flags";
  all.for_people = false;
  all.for_programs = true;
  const auto add = [&](const std::string& flag, const Scalar& value, const Scalar& from) {
    all.rows.push_back({flag, value, from});
    if (!std::holds_alternative<std::monostate>(value)) shown.rows.push_back({flag, value, from});
  };
  for (const CLI::Option* o : command.get_options()) {
    const std::string flag = o->get_positional() ? o->get_name(true) : "--" + o->get_lnames().at(0);
    if (flag == "--help" || flag == "--show-settings") continue;
    const Scalar from = settings.options.contains(o) ? settings.file : "command line";
    if (o->count() == 0)
      add(flag, o->get_default_str().empty() ? Scalar() : Scalar(o->get_default_str()),
          o->get_default_str().empty() ? Scalar() : Scalar("default"));
    else if (o->get_multi_option_policy() == CLI::MultiOptionPolicy::TakeAll)
      for (const std::string& value : o->results()) add(flag, value, from);
    else
      add(flag, o->results().back(), from);
  }
  section.tables = {std::move(shown), std::move(all)};
  section.notes.push_back("what is not listed is not set");
  Report report;
  report.command = command.get_name();
  report.sections = {std::move(section)};
  return write_reports(report, targets, flags, false, streams);
}

}  // namespace onnxtool
