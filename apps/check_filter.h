// Which findings count: not the suppressed ones, nor those of a baseline.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "libopt/check/check.h"
#include "libopt/support/status.h"

namespace onnxtool {

/// `CODE[@GLOB]=REASON`: findings of this code, at places that match, are not reported.
struct Suppression {
  std::string code, place, reason;
  int64_t used = 0;
};
/// Unknown codes, missing reasons and codes of what flags demand are kUsage.
Result<std::vector<Suppression>> parse_suppressions(const std::vector<std::string>& given);
/// Counts the finding in the first suppression that matches.
bool is_suppressed(const CheckFinding& finding, std::vector<Suppression>& suppressions);

/// Known findings: one line each, `code<TAB>file<TAB>place`, or
/// `code<TAB>file<TAB><TAB>message` where the place is the whole model; sorted, so that its changes
/// can be reviewed. Never what flags demand (--verify-digest, --allow-op).
using Baseline = std::multiset<std::string>;
Result<Baseline> read_baseline(const std::string& path);
std::string baseline_text(const Baseline& baseline);
/// `file` as it was given: files of one name in several directories are several files.
void add_to_baseline(const std::vector<CheckFinding>& findings, const std::string& file,
                     Baseline& baseline);
/// Drops findings that the baseline lists, and their lines with them; gives how many.
int64_t drop_known(std::vector<CheckFinding>& findings, const std::string& file,
                   Baseline& baseline);

}  // namespace onnxtool
