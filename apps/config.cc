#include "apps/config.h"

#include <fmt/format.h>

#include <toml++/toml.h>
#include <algorithm>
#include <filesystem>
#include <optional>
#include <ostream>
#include <set>

#include "apps/files.h"
#include "apps/flags.h"
#include "apps/report/report.h"
#include "apps/usage.h"

namespace onnxtool {
namespace {

constexpr const char* kDefaultFile = "onnxtool.toml";

std::vector<std::string> setting_names(const CLI::App& command) {
  std::vector<std::string> names;
  for (const FlagGroup& g : describe_flags(command))
    for (const FlagRow& r : g.rows)
      // Flags that say where settings come from cannot be settings.
      if (r.long_name != "--config" && r.long_name != "--no-config" &&
          r.long_name != "--show-settings" && r.long_name != "--help" && !r.long_name.empty())
        names.push_back(r.long_name.substr(2));
  return names;
}

std::string kind_of(const toml::node& value) {
  switch (value.type()) {
    case toml::node_type::table: return "a table";
    case toml::node_type::array: return "a list";
    case toml::node_type::boolean: return "a boolean";
    case toml::node_type::string: return "text";
    case toml::node_type::integer:
    case toml::node_type::floating_point: return "a number";
    default: return "a date";
  }
}

// What the command line would say; nullopt for what it cannot.
std::optional<std::string> as_text(const toml::node& value) {
  if (const auto* s = value.as_string()) return s->get();
  if (const auto* i = value.as_integer()) return std::to_string(i->get());
  if (const auto* d = value.as_floating_point()) return fmt::format("{}", d->get());
  return std::nullopt;
}

Error bad_setting(const std::string& file, const toml::node& at, const std::string& message,
                  std::string hint = {}) {
  return Error{ErrorCode::kUsage,
               fmt::format("{}: line {}: {}", file, at.source().begin.line, message),
               std::move(hint)};
}

// The values to hand to the flag; none where a switch is off.
Result<std::vector<std::string>> values_of(const CLI::Option& option, const std::string& name,
                                           const toml::node& value, const std::string& file) {
  const bool is_switch = option.get_expected_min() == 0,
             repeatable = option.get_multi_option_policy() == CLI::MultiOptionPolicy::TakeAll;
  std::vector<std::string> values;
  if (const auto* b = value.as_boolean(); b && is_switch) {
    if (b->get()) values.emplace_back("true");
    return values;
  }
  if (const auto* list = value.as_array(); list && repeatable) {
    for (const auto& item : *list) {
      const auto text = as_text(item);
      if (!text)
        return bad_setting(
            file, item,
            fmt::format("setting '{}' holds {}, expected text or numbers", name, kind_of(item)));
      values.push_back(*text);
    }
    return values;
  }
  const bool takes_text = !is_switch || !option.get_type_name().empty();
  if (const auto text = as_text(value); text && takes_text) {
    values.push_back(*text);
    return values;
  }
  const std::string expected = !takes_text  ? "true or false"
                               : is_switch  ? "true, false or text"
                               : repeatable ? "text, a number or a list of these"
                                            : "text or a number";
  return bad_setting(
      file, value, fmt::format("setting '{}' is {}, expected {}", name, kind_of(value), expected));
}

Result<toml::table> read_settings(const std::string& file) {
  ONNXTOOL_ASSIGN(const std::string text, read_text(file));
  try {
    return toml::parse(text, file);
  } catch (const toml::parse_error& e) {
    return Error{ErrorCode::kUsage,
                 fmt::format("{}: line {}: {}", file, e.source().begin.line, e.description()),
                 "settings are TOML: key = value lines under a command such as [check]"};
  }
}

}  // namespace

void add_config_flags(CLI::App& command) {
  const std::string group = "Settings";
  command.add_option("--config")
      ->description("Take settings from this file instead of ./onnxtool.toml")
      ->type_name("FILE")
      ->group(group);
  command.add_flag("--no-config")->description("Take no settings from a file")->group(group);
  command.add_flag("--show-settings")
      ->description("Print what applies, and where it comes from, and do nothing else")
      ->group(group);
}

std::string settings_file(const CLI::App& command) {
  const CLI::Option* chosen = command.get_option_no_throw("--config");
  if (!chosen || command.get_option("--no-config")->count()) return {};
  if (chosen->count()) return chosen->results()[0];
  std::error_code ignored;
  return std::filesystem::exists(kDefaultFile, ignored) ? kDefaultFile : "";
}

Result<SettingsInUse> apply_config(CLI::App& command, const Streams& streams) {
  const CLI::Option* chosen = command.get_option_no_throw("--config");
  if (chosen && chosen->count() && command.get_option("--no-config")->count())
    return Error{ErrorCode::kUsage, "--config and --no-config exclude each other", {}};
  const std::string file = settings_file(command);
  if (file.empty()) return SettingsInUse();
  // It is taken unasked, from a directory that may be anybody's.
  std::error_code ignored;
  if (!chosen->count() && !std::filesystem::is_regular_file(file, ignored))
    return Error{ErrorCode::kUsage, file + ": is no regular file, settings expected",
                 "remove it, or use --no-config"};
  ONNXTOOL_ASSIGN(const toml::table table, read_settings(file));
  streams.err << "settings from " << printable(file) << "\n";
  std::vector<std::string> commands;
  for (const CLI::App* sub : command.get_parent()->get_subcommands({}))
    commands.push_back(sub->get_name());
  for (const auto& [key, value] : table) {
    const std::string name(key.str());
    if (!value.is_table())
      return bad_setting(file, value,
                         fmt::format("setting '{}' stands outside of a command's section", name),
                         fmt::format("put it under [{}]", command.get_name()));
    if (std::find(commands.begin(), commands.end(), name) == commands.end())
      return bad_setting(file, value, fmt::format("unknown section [{}]", name),
                         did_you_mean(name, commands));
  }
  const auto* section = table[command.get_name()].as_table();
  if (!section) return SettingsInUse{file};
  const std::vector<std::string> known = setting_names(command);
  // What the command line says wins, also over settings that exclude it.
  std::set<const CLI::Option*> on_command_line, by_settings;
  for (const CLI::Option* o : command.get_options())
    if (o->count()) on_command_line.insert(o);
  const auto excluded_by = [](const CLI::Option& option,
                              const std::set<const CLI::Option*>& others) -> const CLI::Option* {
    for (const CLI::Option* o : option.get_excludes())
      if (others.contains(o)) return o;
    return nullptr;
  };
  for (const auto& [key, value] : *section) {
    const std::string name(key.str());
    if (std::find(known.begin(), known.end(), name) == known.end())
      return bad_setting(file, value,
                         fmt::format("unknown setting '{}' in [{}]", name, command.get_name()),
                         did_you_mean(name, known));
    CLI::Option* option = command.get_option("--" + name);
    ONNXTOOL_ASSIGN(std::vector<std::string> values, values_of(*option, name, value, file));
    if (values.empty() || on_command_line.contains(option) || excluded_by(*option, on_command_line))
      continue;
    if (const CLI::Option* other = excluded_by(*option, by_settings))
      return bad_setting(
          file, value,
          fmt::format("settings '{}' and '{}' exclude each other", other->get_lnames()[0], name));
    by_settings.insert(option);
    try {
      option->add_result(std::move(values));
      option->run_callback();
    } catch (const CLI::Error& e) {
      return bad_setting(file, value, fmt::format("setting '{}': {}", name, value_error(e)));
    }
  }
  return SettingsInUse{file, std::move(by_settings)};
}

bool is_given(const CLI::App& command, const std::string& flag) {
  const CLI::Option* option = command.get_option_no_throw(flag);
  return option && option->count() > 0;
}

Status check_seed(const CLI::App& command, const SettingsInUse& settings) {
  const auto given = [&](const char* flag) { return is_given(command, flag); };
  // bench draws a sample where it is given none.
  const bool draws =
      given("--random") || (command.get_name() == "bench" && !given("--data") && !given("--raw"));
  if (!given("--seed") || draws || settings.options.contains(command.get_option("--seed")))
    return {};
  return Error{ErrorCode::kUsage, "--seed is for random samples, and none are drawn",
               "add --random N"};
}

}  // namespace onnxtool
