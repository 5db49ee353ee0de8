#include "apps/usage.h"

#include <fmt/format.h>

#include "apps/flags.h"

namespace onnxtool {
namespace {

std::vector<std::string> long_names(const CLI::App& app) {
  std::vector<std::string> out;
  for (const FlagGroup& g : describe_flags(app))
    for (const FlagRow& r : g.rows)
      if (!r.long_name.empty()) out.push_back(r.long_name);
  return out;
}

// The flag that a failure is about: CLI11 starts its texts with the name.
const CLI::Option* named_in(const CLI::App& app, const std::string& text) {
  const std::string name = text.substr(0, text.find_first_of(": "));
  if (name.empty()) return nullptr;
  const CLI::Option* o = app.get_option_no_throw(name);
  return o ? o : app.get_option_no_throw("--" + name);
}

std::string given_name(const CLI::Option& o) {
  return o.get_positional() ? o.get_name(true) : "--" + o.get_lnames().at(0);
}

std::string with_value(const CLI::Option& o) { return given_name(o) + " " + o.get_type_name(); }

}  // namespace

std::string usage_line(const CLI::App& command) {
  std::string out = "onnxtool " + command.get_name() + " [OPTION...]";
  for (const FlagGroup& g : describe_flags(command))
    for (const FlagRow& r : g.rows)
      if (r.long_name.empty()) out += r.required ? " " + r.value : " [" + r.value + "]";
  return out;
}

std::string value_error(const CLI::Error& failure) {
  const std::string text = failure.what();
  const size_t colon = text.find(": ");
  return colon == std::string::npos ? text : text.substr(colon + 2);
}

Error usage_error(CLI::App& app, const CLI::ParseError& failure) {
  const auto chosen = app.get_subcommands();
  CLI::App& command = chosen.empty() ? app : *chosen[0];
  const std::string help =
      chosen.empty() ? "see onnxtool --help" : "see onnxtool " + command.get_name() + " --help";
  const auto error = [&](std::string message, const std::string& hint = {}) {
    return Error{ErrorCode::kUsage, std::move(message),
                 hint.empty() ? help : hint + (hint.ends_with('?') ? " " : "; ") + help};
  };
  // A mistyped flag is at the root of most other failures.
  std::vector<std::string> extra = command.remaining();
  const bool before_command = extra.empty() && !chosen.empty();
  if (extra.empty()) extra = app.remaining();
  for (const std::string& e : extra) {
    if (!e.starts_with("-") || e == "-" || e == "--") continue;
    const std::string name = e.substr(0, e.find('='));
    if (before_command && command.get_option_no_throw(name))
      return error(fmt::format("'{}' stands before the command", name),
                   fmt::format("write onnxtool {} {}", command.get_name(), name));
    return error(fmt::format("unknown option '{}'", name), did_you_mean(name, long_names(command)));
  }
  if (chosen.empty()) {
    if (extra.empty()) return error("no command given");
    std::vector<std::string> commands;
    for (const CLI::App* sub : app.get_subcommands({})) commands.push_back(sub->get_name());
    return error(fmt::format("unknown command '{}'", extra[0]), did_you_mean(extra[0], commands));
  }
  const std::string what = failure.what();
  const CLI::Option* option = named_in(command, what);
  if (dynamic_cast<const CLI::RequiredError*>(&failure) && option)
    return error(fmt::format("no {} given", given_name(*option)), "usage: " + usage_line(command));
  if (!extra.empty())
    return error(fmt::format("unexpected argument '{}'", extra[0]),
                 "usage: " + usage_line(command));
  if (dynamic_cast<const CLI::ArgumentMismatch*>(&failure) && option) {
    if (option->get_expected_max() == 0)
      return error(fmt::format("{} takes no value", given_name(*option)));
    if (option->count() > 1)
      return error(
          fmt::format("{} is given {} times, expected once", given_name(*option), option->count()));
    return error(fmt::format("{} needs a value", given_name(*option)),
                 "write " + with_value(*option));
  }
  if (dynamic_cast<const CLI::ExcludesError*>(&failure)) {
    const size_t at = what.find(" excludes ");
    if (at != std::string::npos)
      return error(
          fmt::format("{} and {} exclude each other", what.substr(0, at), what.substr(at + 10)));
  }
  if (dynamic_cast<const CLI::RequiresError*>(&failure)) {
    const size_t at = what.find(" requires ");
    if (at != std::string::npos)
      return error(fmt::format("{} without {}", what.substr(0, at), what.substr(at + 10)));
  }
  if (option) return error(fmt::format("{}: {}", given_name(*option), value_error(failure)));
  return error(what);
}

}  // namespace onnxtool
