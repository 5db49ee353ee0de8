// onnxtool explain: what a code in brackets means.
#include <fmt/format.h>

#include <ostream>

#include "apps/codes.h"
#include "apps/command.h"
#include "apps/flags.h"
#include "libopt/check/rules.h"

namespace onnxtool {
namespace {

Result<int> explain(const std::string& code, const Streams& streams) {
  if (code.empty()) {
    size_t width = 0;
    for (const Rule& r : all_rules()) width = std::max(width, r.code.size());
    for (const OutcomeCode& c : outcome_codes()) width = std::max(width, c.code.size());
    for (const Rule& r : all_rules())
      streams.out << fmt::format("{:<{}}  {:<7}  {}\n", r.code, width, name(r.severity), r.summary);
    for (const OutcomeCode& c : outcome_codes())
      streams.out << fmt::format("{:<{}}  exit {}   {}\n", c.code, width, c.exit_code, c.meaning);
    return 0;
  }
  for (const OutcomeCode& c : outcome_codes())
    if (c.code == code) {
      streams.out << fmt::format("{} (exit code {})\n{}\n\nFix: {}\n", c.code, c.exit_code,
                                 c.meaning, c.advice);
      return 0;
    }
  const Rule* r = find_rule(code);
  if (!r) {
    std::vector<std::string> codes;
    for (const Rule& known : all_rules()) codes.emplace_back(known.code);
    for (const OutcomeCode& known : outcome_codes()) codes.emplace_back(known.code);
    const std::string close = did_you_mean(code, codes);
    return Error{ErrorCode::kUsage, fmt::format("unknown code '{}'", code),
                 close.empty() ? "onnxtool explain lists all codes" : close};
  }
  streams.out << fmt::format("{} ({})\n{}.\n\n{}\n\nFix: {}\n", r->code, name(r->severity),
                             r->summary, r->explanation, r->fix);
  return 0;
}

Run add(CLI::App& command) {
  auto code = std::make_shared<std::string>();
  add_text(
      command, *code,
      {"CODE", "CODE",
       "A code in brackets, as messages and reports have it; without one, all codes are listed",
       "Arguments"});
  command.footer("Example: onnxtool explain unknown-input");
  return [code](const Streams& streams) { return explain(*code, streams); };
}

}  // namespace

extern constinit const CommandInfo kExplainCommand{
    "explain", "Say what a code of check or of an error means", add};

}  // namespace onnxtool
