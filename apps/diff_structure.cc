#include "apps/diff_structure.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <ostream>
#include <sstream>

#include "libopt/analysis/difference.h"
#include "libopt/io/load.h"

namespace onnxtool {
namespace {

const char* sign_of(Difference::Kind kind) {
  return kind == Difference::Kind::kAdded ? "+" : kind == Difference::Kind::kRemoved ? "-" : "~";
}

Section operators_section(const Model& a, const Model& b) {
  std::map<std::string, std::pair<int64_t, int64_t>> counts;
  for (const Node& n : a.graph().nodes()) ++counts[n.op_type()].first;
  for (const Node& n : b.graph().nodes()) ++counts[n.op_type()].second;
  Section s{"operators", "", {}, {}, {}, false};
  Table t{"operators",
          "operators whose number changed",
          {{"op", "op", ""}, {"before", "before", ""}, {"after", "after", ""}},
          {},
          0};
  for (const auto& [op, count] : counts)
    if (count.first != count.second) t.rows.push_back({op, count.first, count.second});
  s.title = t.rows.empty() ? "" : "Operators";
  s.tables.push_back(std::move(t));
  return s;
}

Section differences_section(const std::vector<Difference>& differences) {
  Section s{"structure", "Differences", {}, {}, {}, false};
  const auto count = [&](Difference::Kind k) {
    return static_cast<int64_t>(std::count_if(differences.begin(), differences.end(),
                                              [&](const Difference& d) { return d.kind == k; }));
  };
  s.fields.push_back({"added", "added (+)", count(Difference::Kind::kAdded), ""});
  s.fields.push_back({"removed", "removed (-)", count(Difference::Kind::kRemoved), ""});
  s.fields.push_back({"changed", "changed (~)", count(Difference::Kind::kChanged), ""});
  Table t{
      "differences", "", {{"kind", "", ""}, {"place", "place", ""}, {"what", "what", ""}}, {}, 200};
  for (const Difference& d : differences)
    t.rows.push_back(
        {std::string(sign_of(d.kind)), d.place, d.what.empty() ? Scalar() : Scalar(d.what)});
  s.tables.push_back(std::move(t));
  return s;
}

}  // namespace

Result<int> diff_structure(const std::string& reference, const std::string& test,
                           const CommonFlags& flags, const std::vector<ReportTarget>& targets,
                           const Streams& streams) {
  ONNXTOOL_ASSIGN(const auto a, load_model(reference));
  if (test.empty()) {
    std::istringstream lines(outline(*a));
    for (std::string line; std::getline(lines, line);) streams.out << printable(line) << '\n';
    streams.out << std::flush;
    return 0;
  }
  ONNXTOOL_ASSIGN(const auto b, load_model(test));
  const auto differences = model_differences(*a, *b);
  Report report;
  report.command = "diff";
  report.inputs = {reference, test};
  report.sections.push_back(differences_section(differences));
  if (!differences.empty()) {
    report.sections.push_back(operators_section(*a, *b));
    report.answer = Answer::kNo;
    report.findings.push_back({"structure-differs", "error",
                               fmt::format("{} difference{} from {}", differences.size(),
                                           differences.size() == 1 ? "" : "s", reference),
                               test, ""});
  }
  return write_reports(report, targets, flags, false, streams);
}

}  // namespace onnxtool
