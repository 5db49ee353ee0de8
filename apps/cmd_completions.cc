// onnxtool completions: shell completions from the command tree itself.
#include <fmt/format.h>

#include <ostream>

#include "apps/command.h"
#include "apps/completions.h"
#include "apps/flags.h"

namespace onnxtool {
namespace {

// Single quotes for shells: the text is ours, but an apostrophe in a summary must not end it.
std::string quoted(const std::string& s) {
  std::string out = "'";
  for (const char c : s) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

std::vector<FlagRow> rows_of(const CLI::App& app) {
  std::vector<FlagRow> out;
  for (FlagGroup& g : describe_flags(app))
    for (FlagRow& r : g.rows) out.push_back(std::move(r));
  return out;
}

bool needs_value(const FlagRow& r) { return !r.value.empty() && !r.value.starts_with("["); }

std::string names_of(const CLI::App& app) {
  std::string out;
  for (const FlagRow& r : rows_of(app))
    if (!r.long_name.empty()) out += (out.empty() ? "" : " ") + r.long_name;
  return out;
}

std::string bash(const CLI::App& app) {
  std::string commands, cases;
  for (const CLI::App* sub : app.get_subcommands({})) {
    commands += (commands.empty() ? "" : " ") + sub->get_name();
    std::string values, words;
    for (const FlagRow& r : rows_of(*sub)) {
      const std::string pattern = (r.short_name.empty() ? "" : r.short_name + "|") + r.long_name;
      if (r.long_name.empty())
        words = fmt::format("{}", fmt::join(r.choices, " "));
      else if (!r.choices.empty())
        values += fmt::format("        {}) words=\"{}\" ;;\n", pattern, fmt::join(r.choices, " "));
      else if (needs_value(r))
        values += fmt::format("        {}) files=1 ;;\n", pattern);
    }
    cases += fmt::format(
        "    {})\n      flags=\"{}\"\n      case \"$previous\" in\n{}        *) {} ;;\n      "
        "esac\n      ;;\n",
        sub->get_name(), names_of(*sub), values,
        words.empty() ? "free=1" : "free=1 words=\"" + words + "\"");
  }
  return fmt::format(R"(# bash completion for onnxtool; made by: onnxtool completions bash
_onnxtool() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" previous="${{COMP_WORDS[COMP_CWORD-1]}}" flags="" words="" files="" free=""
  # --flag=value comes as three words
  if [[ "$word" == "=" ]]; then word=""; elif [[ "$previous" == "=" ]]; then previous="${{COMP_WORDS[COMP_CWORD-2]}}"; fi
  COMPREPLY=()
  if (( COMP_CWORD == 1 )); then
    COMPREPLY=($(compgen -W "{} {}" -- "$word"))
    return
  fi
  case "${{COMP_WORDS[1]}}" in
{}  esac
  if [[ "$free" && "$word" == -* ]]; then
    COMPREPLY=($(compgen -W "$flags" -- "$word"))
  elif [[ "$words" ]]; then
    COMPREPLY=($(compgen -W "$words" -- "$word"))
  else
    local IFS=$'\n'
    COMPREPLY=($(compgen -f -- "$word"))
  fi
}}
complete -o filenames -F _onnxtool onnxtool
)",
                     commands, names_of(app), cases);
}

std::string zsh(const CLI::App& app) {
  // Brackets and colons delimit the specification.
  const auto escaped = [](const std::string& text) {
    std::string out;
    for (const char c : text)
      out += c == '[' || c == ']' || c == ':' ? std::string("\\") + c : std::string(1, c);
    return out;
  };
  std::string commands, cases;
  for (const CLI::App* sub : app.get_subcommands({})) {
    commands += fmt::format("    {}\n", quoted(sub->get_name() + ":" + sub->get_description()));
    cases += fmt::format("    {})\n      _arguments \\\n", sub->get_name());
    std::string positional = "'*:file:_files'";
    for (const FlagRow& r : rows_of(*sub)) {
      const std::string action =
          r.choices.empty() ? "_files" : fmt::format("({})", fmt::join(r.choices, " "));
      if (r.long_name.empty()) {
        positional = quoted(fmt::format("*:{}:{}", r.value, action));
        continue;
      }
      const std::string value =
          r.value.empty() ? "" : fmt::format(":{}:{}", escaped(r.value), action);
      const std::string form = needs_value(r) ? "=" : r.value.empty() ? "" : "=-";
      const std::string repeat = r.repeatable ? "*" : "";
      cases += fmt::format(
          "        {} \\\n",
          quoted(fmt::format("{}{}{}[{}]{}", repeat, r.long_name, form, escaped(r.description),
                             form == "=-" ? ":" + value : value)));
      if (!r.short_name.empty())
        cases += fmt::format(
            "        {} \\\n",
            quoted(fmt::format("{}{}[{}]{}", repeat, r.short_name, escaped(r.description), value)));
    }
    cases += "        " + positional + "\n      ;;\n";
  }
  return fmt::format(R"(#compdef onnxtool
# zsh completion for onnxtool; made by: onnxtool completions zsh
_onnxtool() {{
  local -a commands
  commands=(
{}  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  local command="${{words[2]}}"
  shift words
  (( CURRENT-- ))
  case "$command" in
{}  esac
}}
_onnxtool "$@"
)",
                     commands, cases);
}

std::string fish(const CLI::App& app) {
  std::string out = "# fish completion for onnxtool; made by: onnxtool completions fish\n";
  for (const CLI::App* sub : app.get_subcommands({}))
    out += fmt::format("complete -c onnxtool -n __fish_use_subcommand -f -a {} -d {}\n",
                       sub->get_name(), quoted(sub->get_description()));
  for (const CLI::App* sub : app.get_subcommands({}))
    for (const FlagRow& r : rows_of(*sub)) {
      const std::string when =
          fmt::format("complete -c onnxtool -n '__fish_seen_subcommand_from {}'", sub->get_name());
      const std::string words =
          r.choices.empty()
              ? ""
              : fmt::format(" -f -a {}", quoted(fmt::format("{}", fmt::join(r.choices, " "))));
      if (r.long_name.empty()) {
        if (!words.empty()) out += when + words + "\n";
        continue;
      }
      out += fmt::format("{}{} -l {}{}{} -d {}\n", when,
                         r.short_name.empty() ? "" : " -s " + r.short_name.substr(1),
                         r.long_name.substr(2), needs_value(r) ? " -r" : "", words,
                         quoted(r.description));
    }
  return out;
}

Run add(CLI::App& command) {
  auto shell = std::make_shared<std::string>();
  add_choice(command, *shell, {"SHELL", "bash|zsh|fish", "bash, zsh or fish", "Arguments"})
      ->required();
  command.footer(
      "Example: onnxtool completions bash > ~/.local/share/bash-completion/completions/onnxtool");
  return [shell](const Streams& streams) -> Result<int> {
    streams.out << completions_for(*shell);
    return 0;
  };
}

}  // namespace

std::string completions_for(const std::string& shell) {
  Run unused;
  const auto app = make_app(unused);
  return shell == "bash" ? bash(*app) : shell == "zsh" ? zsh(*app) : fish(*app);
}

extern constinit const CommandInfo kCompletionsCommand{"completions", "Print shell completions",
                                                       add};

}  // namespace onnxtool
