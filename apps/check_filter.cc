#include "apps/check_filter.h"

#include <algorithm>
#include <sstream>

#include "apps/files.h"
#include "apps/flags.h"
#include "libopt/check/rules.h"
#include "libopt/ir/selector.h"

namespace onnxtool {
namespace {

constexpr std::string_view kHeader = "# onnxtool check baseline 1";

std::string key_of(const Finding& f) {
  // Where the files lie differs between machines.
  const std::string file = f.file.substr(f.file.rfind('/') + 1);
  return f.code + "\t" + printable(file) + "\t" + printable(f.place);
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
    out.push_back(std::move(s));
  }
  return out;
}

void suppress(std::vector<Finding>& findings, std::vector<Suppression>& suppressions) {
  std::erase_if(findings, [&](const Finding& f) {
    for (Suppression& s : suppressions)
      if (s.code == f.code && (s.place.empty() || glob_match(s.place, f.place)))
        return ++s.used > 0;
    return false;
  });
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

std::string write_baseline(const std::vector<Finding>& findings) {
  std::multiset<std::string> keys;
  for (const Finding& f : findings) keys.insert(key_of(f));
  std::string out = std::string(kHeader) + "\n";
  for (const std::string& k : keys) out += k + "\n";
  return out;
}

int64_t drop_known(std::vector<Finding>& findings, Baseline& baseline) {
  return static_cast<int64_t>(std::erase_if(findings, [&](const Finding& f) {
    const auto known = baseline.find(key_of(f));
    if (known == baseline.end()) return false;
    baseline.erase(known);
    return true;
  }));
}

}  // namespace onnxtool
