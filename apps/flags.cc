#include "apps/flags.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "apps/usage.h"
#include "libopt/ir/selector.h"

namespace onnxtool {
namespace {

std::vector<std::string> split(std::string_view text, char by) {
  std::vector<std::string> out;
  for (size_t start = 0; start <= text.size();) {
    const size_t end = std::min(text.find(by, start), text.size());
    out.emplace_back(text.substr(start, end - start));
    start = end + 1;
  }
  return out;
}

// Lower-case words are values to type; a placeholder is in capitals.
std::vector<std::string> choices_in(const std::string& value) {
  if (value.empty() || std::any_of(value.begin(), value.end(),
                                   [](char c) { return (c >= 'A' && c <= 'Z') || c == '['; }))
    return {};
  return split(value, '|');
}

CLI::Option* describe(CLI::Option* option, const FlagText& text) {
  return option->description(text.description)->group(text.group)->type_name(text.value);
}

template <class Number>
bool parse_whole(const std::string& text, Number& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

// Appends `text` at `column`, wrapped at `width`; the first line goes on where `out` stands.
void wrap(std::string& out, const std::string& text, size_t column, size_t width) {
  size_t at = column;
  bool first = true;
  for (const std::string& word : split(text, ' ')) {
    if (!first && at + 1 + word.size() > width) {
      out += "\n" + std::string(column, ' ');
      at = column;
    } else if (!first) {
      out += ' ';
      ++at;
    }
    out += word;
    at += word.size();
    first = false;
  }
  out += '\n';
}

void append_row(std::string& out, const std::string& left, const std::string& right, size_t column,
                size_t width) {
  out += "  " + left;
  if (left.size() + 4 > column)
    out += "\n" + std::string(column, ' ');
  else
    out += std::string(column - 2 - left.size(), ' ');
  wrap(out, right, column, width);
}

std::string left_side(const FlagRow& row) {
  if (row.long_name.empty()) return row.value;
  std::string out = row.short_name.empty() ? "    " : row.short_name + ", ";
  out += row.long_name;
  if (row.value.starts_with("["))
    out += row.value;
  else if (!row.value.empty())
    out += " " + row.value;
  return out;
}

std::string command_help(const CLI::App& app, size_t width) {
  constexpr size_t kColumn = 30;
  const auto groups = describe_flags(app);
  std::string out = app.get_description() + "\n\nUsage: " + usage_line(app) + "\n";
  if (!app.get_footer().empty()) out += "\n" + app.get_footer() + "\n";
  for (const FlagGroup& g : groups) {
    out += "\n" + g.name + "\n";
    for (const FlagRow& r : g.rows) {
      std::string right = r.description;
      if (!r.default_value.empty()) right += " (default: " + r.default_value + ")";
      if (r.repeatable) right += " (repeatable)";
      append_row(out, left_side(r), right, kColumn, width);
    }
  }
  return out;
}

}  // namespace

CLI::Option* add_text(CLI::App& app, std::string& value, const FlagText& text) {
  return describe(app.add_option(text.names, value)->capture_default_str(), text);
}

CLI::Option* add_list(CLI::App& app, std::vector<std::string>& values, const FlagText& text) {
  return describe(app.add_option(text.names, values)
                      ->allow_extra_args(false)
                      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll),
                  text);
}

CLI::Option* add_switch(CLI::App& app, bool& value, const FlagText& text) {
  return describe(app.add_flag(text.names, value)->disable_flag_override(), text);
}

CLI::Option* add_switch_with_value(CLI::App& app, std::string& given, const FlagText& text) {
  const auto take = [&given](const CLI::results_t& results) {
    // CLI11 says "true" for a flag without a value.
    given = results[0] == "true" ? std::string() : results[0];
    return true;
  };
  CLI::Option* option = app.add_option(text.names, CLI::callback_t(take));
  return describe(
      option->expected(0)->type_size(0)->multi_option_policy(CLI::MultiOptionPolicy::TakeLast),
      text);
}

CLI::Option* add_choice(CLI::App& app, std::string& value, const FlagText& text) {
  const auto choices = choices_in(text.value);
  return add_text(app, value, text)->check([choices](const std::string& given) {
    if (std::find(choices.begin(), choices.end(), given) != choices.end()) return std::string();
    return fmt::format("'{}' is unknown, expected {}{}", given, choices.size() > 1 ? "one of " : "",
                       fmt::join(choices, ", "));
  });
}

template <class Integer>
CLI::Option* add_integer(CLI::App& app, Integer& value, Integer low, Integer high,
                         const FlagText& text) {
  CLI::Option* option = app.add_option(text.names, value);
  if (value != Integer{}) option->capture_default_str();
  return describe(option, text)->check([low, high](const std::string& given) {
    Integer parsed = 0;
    if (parse_whole(given, parsed) && parsed >= low && parsed <= high) return std::string();
    if (high == std::numeric_limits<Integer>::max())
      return fmt::format("'{}' is no whole number of at least {}", given, low);
    return fmt::format("'{}' is no whole number from {} to {}", given, low, high);
  });
}
template CLI::Option* add_integer(CLI::App&, int&, int, int, const FlagText&);
template CLI::Option* add_integer(CLI::App&, int64_t&, int64_t, int64_t, const FlagText&);
template CLI::Option* add_integer(CLI::App&, uint64_t&, uint64_t, uint64_t, const FlagText&);

CLI::Option* add_number(CLI::App& app, double& value, double low, double high,
                        const FlagText& text) {
  return describe(app.add_option(text.names, value)->capture_default_str(), text)
      ->check([low, high](const std::string& given) {
        double parsed = 0;
        if (parse_whole(given, parsed) && parsed > low && parsed <= high) return std::string();
        return fmt::format("'{}' is no number above {} and up to {}", given, low, high);
      });
}

CLI::Option* add_magnitude(CLI::App& app, std::optional<double>& given, const FlagText& text) {
  const auto parse = [](const std::string& word) -> std::optional<double> {
    double parsed = 0;
    if (!parse_whole(word, parsed) || !std::isfinite(parsed) || parsed < 0) return std::nullopt;
    return parsed;
  };
  const auto take = [&given, parse](const CLI::results_t& results) {
    return (given = parse(results[0])).has_value();
  };
  return describe(app.add_option(text.names, CLI::callback_t(take)), text)
      ->check([parse](const std::string& word) {
        return parse(word) ? std::string() : fmt::format("'{}' is no number of at least 0", word);
      });
}

std::vector<FlagGroup> describe_flags(const CLI::App& app) {
  std::vector<FlagGroup> groups;
  const auto add = [&](const std::string& name, FlagRow row) {
    auto it = std::find_if(groups.begin(), groups.end(),
                           [&](const FlagGroup& g) { return g.name == name; });
    if (it == groups.end()) it = groups.insert(groups.end(), {name, {}});
    it->rows.push_back(std::move(row));
  };
  for (const CLI::Option* o : app.get_options()) {
    FlagRow row;
    row.description = o->get_description();
    row.required = o->get_required();
    if (o->get_positional()) {
      row.value = o->get_name(true);
      row.choices = choices_in(o->get_type_name());
      add(o->get_group(), std::move(row));
      continue;
    }
    if (!o->get_snames().empty()) row.short_name = "-" + o->get_snames()[0];
    row.long_name = "--" + o->get_lnames().at(0);
    row.value = o->get_type_name();
    row.choices = choices_in(row.value);
    if (o->get_expected_min() == 0 && !row.value.empty()) row.value = "[=" + row.value + "]";
    row.default_value = o->get_default_str();
    row.repeatable = o->get_multi_option_policy() == CLI::MultiOptionPolicy::TakeAll;
    add(o->get_group(), std::move(row));
  }
  return groups;
}

std::string help_text(const CLI::App& app, size_t width) {
  if (app.get_parent()) return command_help(app, width);
  constexpr size_t kColumn = 18;
  std::string out =
      app.get_description() + "\n\nUsage: onnxtool COMMAND [OPTION...] [ARGUMENT...]\n\nCommands\n";
  for (const CLI::App* sub : app.get_subcommands({}))
    append_row(out, sub->get_name(), sub->get_description(), kColumn, width);
  for (const FlagGroup& g : describe_flags(app)) {
    out += "\n" + g.name + "\n";
    for (const FlagRow& r : g.rows) append_row(out, left_side(r), r.description, kColumn, width);
  }
  return out + "\n" + app.get_footer() + "\n";
}

std::string did_you_mean(const std::string& text, const std::vector<std::string>& known) {
  std::vector<std::string> close = close_candidates(text, known);
  // Or it is the beginning of some.
  for (const std::string& k : known)
    if (close.size() < 3 && text.size() > 2 && k.starts_with(text) &&
        std::ranges::find(close, k) == close.end())
      close.push_back(k);
  std::string out;
  for (const std::string& c : close) out += (out.empty() ? "did you mean '" : "' or '") + c;
  return out.empty() ? out : out + "'?";
}

}  // namespace onnxtool
