// onnxtool completions: shell completions from the command tree itself.
#include <fmt/format.h>

#include <ostream>

#include "apps/command.h"
#include "apps/completions.h"

namespace onnxtool {
namespace {

// Single quotes for shells: the text is ours, but an apostrophe in a summary must not end it.
std::string quoted(const std::string& s) {
  std::string out = "'";
  for (const char c : s) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

std::vector<const CLI::Option*> options_of(const CLI::App& app) {
  std::vector<const CLI::Option*> out;
  for (const CLI::Option* o : app.get_options())
    if (!o->get_lnames().empty()) out.push_back(o);
  return out;
}

bool takes_value(const CLI::Option& o) { return o.get_expected_min() > 0; }

std::string flags_text(const CLI::App& app) {
  std::string out;
  for (const CLI::Option* o : options_of(app))
    for (const std::string& n : o->get_lnames()) out += (out.empty() ? "--" : " --") + n;
  return out;
}

std::string bash(const CLI::App& app) {
  std::string names, cases;
  for (const CLI::App* sub : app.get_subcommands({})) {
    names += (names.empty() ? "" : " ") + sub->get_name();
    cases += fmt::format("    {}) flags=\"{}\" ;;\n", sub->get_name(), flags_text(*sub));
  }
  return fmt::format(R"(# bash completion for onnxtool
_onnxtool() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" flags=""
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "{} {}" -- "$word"))
    return
  fi
  case "${{COMP_WORDS[1]}}" in
{}  esac
  if [[ "$word" == -* ]]; then
    COMPREPLY=($(compgen -W "$flags" -- "$word"))
  else
    COMPREPLY=($(compgen -f -- "$word"))
  fi
}}
complete -o filenames -F _onnxtool onnxtool
)", names, flags_text(app), cases);
}

std::string zsh(const CLI::App& app) {
  std::string commands, cases;
  for (const CLI::App* sub : app.get_subcommands({})) {
    commands += fmt::format("    {}\n", quoted(sub->get_name() + ":" + sub->get_description()));
    cases += fmt::format("    {})\n      _arguments \\\n", sub->get_name());
    for (const CLI::Option* o : options_of(*sub)) {
      // Brackets and colons delimit the specification.
      std::string description;
      for (const char c : o->get_description()) description += c == '[' || c == ']' || c == ':' ? std::string("\\") + c : std::string(1, c);
      cases += fmt::format("        {} \\\n", quoted(fmt::format("*--{}{}[{}]{}", o->get_lnames()[0], takes_value(*o) ? "=" : "", description, takes_value(*o) ? ":value:_files" : "")));
    }
    cases += "        '*:file:_files'\n      ;;\n";
  }
  return fmt::format(R"(#compdef onnxtool
# zsh completion for onnxtool
_onnxtool() {{
  local -a commands
  commands=(
{}  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  case "${{words[2]}}" in
{}  esac
}}
_onnxtool "$@"
)", commands, cases);
}

std::string fish(const CLI::App& app) {
  std::string out = "# fish completion for onnxtool\n";
  for (const CLI::App* sub : app.get_subcommands({}))
    out += fmt::format("complete -c onnxtool -n __fish_use_subcommand -f -a {} -d {}\n", sub->get_name(), quoted(sub->get_description()));
  for (const CLI::App* sub : app.get_subcommands({}))
    for (const CLI::Option* o : options_of(*sub))
      out += fmt::format("complete -c onnxtool -n '__fish_seen_subcommand_from {}' -l {}{} -d {}\n", sub->get_name(), o->get_lnames()[0],
                         takes_value(*o) ? " -r" : "", quoted(o->get_description()));
  return out;
}

Run add(CLI::App& command) {
  auto shell = std::make_shared<std::string>();
  command.add_option("SHELL", *shell, "bash, zsh or fish")->required();
  return [shell](const Streams& streams) -> Result<int> {
    ONNXTOOL_ASSIGN(const std::string text, completions_for(*shell));
    streams.out << text;
    return 0;
  };
}

}  // namespace

Result<std::string> completions_for(const std::string& shell) {
  Run unused;
  const auto app = make_app(unused);
  if (shell == "bash") return bash(*app);
  if (shell == "zsh") return zsh(*app);
  if (shell == "fish") return fish(*app);
  return Error{ErrorCode::kUsage, "unknown shell '" + shell + "'", "known: bash, zsh, fish"};
}

extern constinit const CommandInfo kCompletionsCommand{"completions", "Print shell completions", add};

}  // namespace onnxtool
