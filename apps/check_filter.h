// Which findings count: suppressed ones, those of a baseline, and the level that fails.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "apps/report/report.h"
#include "libopt/support/status.h"

namespace onnxtool {

/// `CODE[@GLOB]=REASON`: findings of this code, at places that match, are not reported.
struct Suppression {
  std::string code, place, reason;
  int64_t used = 0;
};
/// Unknown codes and missing reasons are kUsage.
Result<std::vector<Suppression>> parse_suppressions(const std::vector<std::string>& given);
/// Drops suppressed findings and counts them in their suppressions.
void suppress(std::vector<Finding>& findings, std::vector<Suppression>& suppressions);

/// Known findings: one line each, `code<TAB>file<TAB>place`, sorted, so that its changes can be
/// reviewed.
using Baseline = std::multiset<std::string>;
Result<Baseline> read_baseline(const std::string& path);
std::string write_baseline(const std::vector<Finding>& findings);
/// Drops findings that the baseline lists, and their lines with them; gives how many.
int64_t drop_known(std::vector<Finding>& findings, Baseline& baseline);

}  // namespace onnxtool
