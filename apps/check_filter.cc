#include "apps/check_filter.h"

#include <algorithm>
#include <sstream>

#include "apps/files.h"
#include "apps/flags.h"
#include "apps/report/report.h"
#include "libopt/check/rules.h"
#include "libopt/ir/selector.h"

namespace onnxtool {
namespace {

constexpr std::string_view kHeader = "# onnxtool check baseline 2";

// The flag that asks for what the rule says. Who gives it wants to know, whatever is known or
// suppressed otherwise.
std::string_view demanded_by(std::string_view code) {
  return code == rule(RuleId::kDigestMismatch).code       ? "--verify-digest"
         : code == rule(RuleId::kOperatorNotAllowed).code ? "--allow-op"
                                                          : "";
}

// Findings on the whole model differ by what they say, or a new one would pass for a known one.
std::string key_of(const CheckFinding& f, const std::string& file) {
  return std::string(f.rule().code) + "\t" + printable(file) + "\t" + printable(f.place) +
         (f.place.empty() ? "\t" + printable(f.message) : "");
}

}  // namespace

Result<std::vector<Suppression>> parse_suppressions(const std::vector<std::string>& given) {
  std::vector<std::string> codes;
  for (const Rule& r : all_rules()) codes.emplace_back(r.code);
  std::vector<Suppression> out;
  for (const std::string& text : given) {
    const size_t equals = text.rfind('=');
    if (equals == std::string::npos || equals + 1 == text.size())
      return Error{ErrorCode::kUsage, "--suppress " + text + ": the reason is missing",
                   "write CODE=REASON or CODE@PLACE=REASON"};
    Suppression s;
    s.code = text.substr(0, std::min(text.find('@'), equals));
    if (s.code.size() < equals)
      s.place = text.substr(s.code.size() + 1, equals - s.code.size() - 1);
    s.reason = text.substr(equals + 1);
    if (!find_rule(s.code))
      return Error{ErrorCode::kUsage, "--suppress: unknown code '" + s.code + "'",
                   did_you_mean(s.code, codes)};
    if (const std::string_view flag = demanded_by(s.code); !flag.empty())
      return Error{ErrorCode::kUsage,
                   "--suppress: '" + s.code + "' is what " + std::string(flag) + " asks for",
                   "leave out one of the two"};
    out.push_back(std::move(s));
  }
  return out;
}

bool is_suppressed(const CheckFinding& f, std::vector<Suppression>& suppressions) {
  for (Suppression& s : suppressions)
    if (s.code == f.rule().code && (s.place.empty() || glob_match(s.place, f.place)))
      return ++s.used > 0;
  return false;
}

Result<Baseline> read_baseline(const std::string& path) {
  ONNXTOOL_ASSIGN(const std::string text, read_text(path));
  std::istringstream lines(text);
  std::string line;
  if (!std::getline(lines, line) || line != kHeader)
    return Error{ErrorCode::kUsage, path + ": is no baseline", "write one with --write-baseline"};
  Baseline out;
  while (std::getline(lines, line))
    if (!line.empty() && line[0] != '#') out.insert(line);
  return out;
}

std::string baseline_text(const Baseline& baseline) {
  std::string out = std::string(kHeader) + "\n";
  for (const std::string& k : baseline) out += k + "\n";
  return out;
}

void add_to_baseline(const std::vector<CheckFinding>& findings, const std::string& file,
                     Baseline& baseline) {
  for (const CheckFinding& f : findings)
    if (demanded_by(f.rule().code).empty()) baseline.insert(key_of(f, file));
}

int64_t drop_known(std::vector<CheckFinding>& findings, const std::string& file,
                   Baseline& baseline) {
  return static_cast<int64_t>(std::erase_if(findings, [&](const CheckFinding& f) {
    const auto known = baseline.find(key_of(f, file));
    if (known == baseline.end() || !demanded_by(f.rule().code).empty()) return false;
    baseline.erase(known);
    return true;
  }));
}

}  // namespace onnxtool
