#include "apps/config.h"

#include <algorithm>
#include <filesystem>
#include <ostream>
#include <toml++/toml.h>

#include "libopt/ir/selector.h"

namespace onnxtool {
namespace {

constexpr const char* kDefaultFile = "onnxtool.toml";

std::vector<std::string> flag_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* o : app.get_options())
    for (const std::string& n : o->get_lnames()) names.push_back(n);
  return names;
}

// Flags that steer where settings come from cannot be settings.
bool configurable(const std::string& name) { return name != "config" && name != "no-config" && name != "help"; }

Result<std::string> as_text(const toml::node& value, const std::string& key) {
  if (const auto* s = value.as_string()) return s->get();
  if (const auto* i = value.as_integer()) return std::to_string(i->get());
  if (const auto* b = value.as_boolean()) return std::string(b->get() ? "true" : "false");
  if (const auto* d = value.as_floating_point()) {
    std::string text = std::to_string(d->get());
    return text;
  }
  return Error{ErrorCode::kUsage, "setting '" + key + "' is no text, number, boolean or list of these", {}};
}

Error bad_setting(const std::string& file, const std::string& message, std::string hint = {}) {
  return Error{ErrorCode::kUsage, file + ": " + message, std::move(hint)};
}

}  // namespace

void add_config_flags(CLI::App& command) {
  command.add_option("--config")->description("Read settings from this file instead of ./onnxtool.toml")->type_name("FILE")->group("Settings");
  command.add_flag("--no-config")->description("Read no settings file")->group("Settings");
}

Status apply_config(CLI::App& command, const Streams& streams) {
  CLI::Option* chosen = command.get_option_no_throw("--config");
  if (!chosen) return {};
  std::string file = chosen->count() ? chosen->as<std::string>() : std::string();
  if (command.get_option("--no-config")->count()) {
    if (!file.empty()) return Error{ErrorCode::kUsage, "--config and --no-config exclude each other", {}};
    return {};
  }
  if (file.empty()) {
    if (!std::filesystem::exists(kDefaultFile)) return {};
    file = kDefaultFile;
  } else if (!std::filesystem::exists(file)) {
    return Error{ErrorCode::kNotFound, file + ": no such settings file", {}};
  }
  toml::table table;
  try {
    table = toml::parse_file(file);
  } catch (const toml::parse_error& e) {
    return bad_setting(file, "line " + std::to_string(e.source().begin.line) + ": " + std::string(e.description()));
  }
  streams.err << "settings from " << file << "\n";
  const auto section = table[command.get_name()].as_table();
  if (!section) return {};
  const std::vector<std::string> known = flag_names(command);
  for (const auto& [key, value] : *section) {
    const std::string name(key.str());
    if (!configurable(name) || std::find(known.begin(), known.end(), name) == known.end()) {
      std::string hint;
      for (const std::string& c : close_candidates(name, known)) hint += (hint.empty() ? "did you mean " : ", ") + c;
      return bad_setting(file, "unknown setting '" + name + "' in [" + command.get_name() + "]", hint);
    }
    CLI::Option* option = command.get_option("--" + name);
    if (option->count()) continue;  // the command line wins
    std::vector<std::string> values;
    if (const auto* list = value.as_array()) {
      for (const auto& item : *list) {
        ONNXTOOL_ASSIGN(std::string text, as_text(item, name));
        values.push_back(std::move(text));
      }
    } else {
      ONNXTOOL_ASSIGN(std::string text, as_text(value, name));
      values.push_back(std::move(text));
    }
    if (values.size() == 1 && values[0] == "false" && option->get_expected_min() == 0) continue;
    try {
      option->add_result(values);
      option->run_callback();
    } catch (const CLI::Error& e) {
      return bad_setting(file, "setting '" + name + "': " + e.what());
    }
  }
  return {};
}

Error usage_error(const CLI::App& app, const std::vector<std::string>& arguments, const std::string& what, const std::string& help) {
  Error error{ErrorCode::kUsage, what, "see " + help};
  if (!error.message.empty()) error.message[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(error.message[0])));
  const auto chosen = app.get_subcommands();
  std::vector<std::string> known;
  if (chosen.empty()) {
    for (const CommandInfo* c : all_commands()) known.emplace_back(c->name);
    for (const std::string& a : arguments)
      if (!a.starts_with("-")) {
        if (std::find(known.begin(), known.end(), a) == known.end()) {
          error.message = "unknown command '" + a + "'";
          for (const std::string& c : close_candidates(a, known)) error.hint = "did you mean '" + c + "'? " + error.hint;
        }
        break;
      }
    if (arguments.empty()) error.message = "no command given";
    return error;
  }
  for (const std::string& n : flag_names(*chosen[0])) known.push_back("--" + n);
  for (const std::string& a : arguments) {
    const std::string flag = a.substr(0, a.find('='));
    if (!flag.starts_with("--") || flag.size() < 3 || std::find(known.begin(), known.end(), flag) != known.end()) continue;
    error.message = "unknown option '" + flag + "'";
    for (const std::string& c : close_candidates(flag, known)) error.hint = "did you mean " + c + "? " + error.hint;
    break;
  }
  return error;
}

}  // namespace onnxtool
