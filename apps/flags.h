// Flags as the command tree holds them: how they are declared, and how help, docs and completions
// see them.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace onnxtool {

/// `names` as CLI11 writes them: "-o,--output", "--calib", or "MODEL" for a positional.
struct FlagText {
  std::string names;
  std::string value;        // "FILE"; lower-case words with | between are the values themselves
  std::string description;  // no final period
  std::string group;        // a heading of --help
};

/// A text value. Given twice is an error.
CLI::Option* add_text(CLI::App& app, std::string& value, const FlagText& text);
/// Takes one value each time it is given.
CLI::Option* add_list(CLI::App& app, std::vector<std::string>& values, const FlagText& text);
/// Present or not.
CLI::Option* add_switch(CLI::App& app, bool& value, const FlagText& text);
/// A switch that takes a value only as --name=VALUE, so that it never eats the next argument.
/// `given` stays empty without a value.
CLI::Option* add_switch_with_value(CLI::App& app, std::string& given, const FlagText& text);
/// One of the words of text.value.
CLI::Option* add_choice(CLI::App& app, std::string& value, const FlagText& text);
/// A whole number within bounds.
template <class Integer>
CLI::Option* add_integer(CLI::App& app, Integer& value, Integer low, Integer high,
                         const FlagText& text);
/// A finite number in (low, high].
CLI::Option* add_number(CLI::App& app, double& value, double low, double high,
                        const FlagText& text);
/// A finite number of at least 0; `given` stays empty without the flag.
CLI::Option* add_magnitude(CLI::App& app, std::optional<double>& given, const FlagText& text);

/// One flag or positional of a command, for help, docs and completions.
struct FlagRow {
  std::string short_name, long_name;  // "-o", "--output"; both empty for a positional
  std::string value;                  // "FILE", "[=NAME]", "" for a switch; a positional's name
  std::string default_value;          // "" when there is none
  std::string description;
  std::vector<std::string> choices;  // the values that it takes, where these are listed
  bool repeatable = false, required = false;
};
struct FlagGroup {
  std::string name;
  std::vector<FlagRow> rows;
};
/// In the order of declaration.
std::vector<FlagGroup> describe_flags(const CLI::App& app);

/// The help of the whole program, or of one command; lines up to `width` characters.
std::string help_text(const CLI::App& app, size_t width);

/// "did you mean 'a' or 'b'?"; empty where nothing is close.
std::string did_you_mean(const std::string& text, const std::vector<std::string>& known);

}  // namespace onnxtool
