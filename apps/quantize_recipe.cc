#include "apps/quantize_recipe.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

namespace onnxtool {
namespace {

// They do not change what is computed, or name files of the one run.
constexpr std::array<std::string_view, 18> kLeftOut = {
    "output",      "force",     "no-clobber",   "external-data", "dry-run",   "explain",
    "report",      "json",      "reproducible", "quiet",         "exit-zero", "threads",
    "emit-recipe", "no-config", "save-ranges",  "ranges-format", "config",    "help"};

// A basic string of TOML.
std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\')
      out += std::string("\\") + c;
    else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
      out += fmt::format("\\u{:04X}", static_cast<unsigned char>(c));
    else
      out += c;
  }
  return out + "\"";
}

std::string line_of(const Setting& s) {
  if (s.is_switch && s.values.empty()) return s.name + " = true\n";
  if (!s.is_list) return s.name + " = " + quoted(s.values.back()) + "\n";
  std::string list;
  for (const std::string& v : s.values) list += "  " + quoted(v) + ",\n";
  return s.name + " = [\n" + list + "]\n";
}

}  // namespace

std::vector<Setting> given_settings(const CLI::App& command) {
  std::vector<Setting> out;
  for (const CLI::Option* o : command.get_options()) {
    if (o->get_positional() || o->count() == 0 || o->get_lnames().empty()) continue;
    const std::string& name = o->get_lnames()[0];
    if (std::ranges::find(kLeftOut, name) != kLeftOut.end()) continue;
    Setting s{name, o->results(), o->get_expected_min() == 0,
              o->get_multi_option_policy() == CLI::MultiOptionPolicy::TakeAll};
    // CLI11 says "true" for a flag without a value.
    if (s.is_switch && s.values.back() == "true") s.values.clear();
    out.push_back(std::move(s));
  }
  return out;
}

std::string recipe_text(std::vector<Setting> given, const std::vector<Setting>& decided) {
  for (const Setting& d : decided) {
    auto it = std::ranges::find(given, d.name, &Setting::name);
    if (d.values.empty()) {
      if (it != given.end()) given.erase(it);
    } else if (it == given.end()) {
      given.push_back(d);
    } else if (d.is_list) {
      it->values.insert(it->values.end(), d.values.begin(), d.values.end());
    } else {
      it->values = d.values;
    }
  }
  std::string out =
      "# Repeats a run: onnxtool quantize MODEL --config THIS_FILE -o OUTPUT\n[quantize]\n";
  for (const Setting& s : given) out += line_of(s);
  return out;
}

}  // namespace onnxtool
