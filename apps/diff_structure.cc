#include "apps/diff_structure.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <ostream>
#include <sstream>

#include "libopt/analysis/difference.h"
#include "libopt/io/look.h"
#include "libopt/ir/constant.h"
#include "libopt/ir/unread.h"

namespace onnxtool {
namespace {

const char* sign_of(Difference::Kind kind) {
  return kind == Difference::Kind::kAdded ? "+" : kind == Difference::Kind::kRemoved ? "-" : "~";
}

Section operators_section(const Model& a, const Model& b) {
  std::map<std::string, std::pair<int64_t, int64_t>> counts;
  const auto count = [](const Graph& g, auto&& add) {
    for (const Node& n : g.nodes())
      if (!n.num_outputs() || !n.has_output(0) || !n.output(0).constant()) add(n.op_type());
  };
  count(a.graph(), [&](const std::string& op) { ++counts[op].first; });
  count(b.graph(), [&](const std::string& op) { ++counts[op].second; });
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

// Where a constant is stored, and in which form, is no difference of what the models compute.
Result<std::unique_ptr<Model>> load_with_tensors(const std::string& path, ExternalData external) {
  ONNXTOOL_ASSIGN(auto model, look_at_model(path, external));
  store_constants_as_tensors(model->graph());
  for (Function& f : model->functions) store_constants_as_tensors(*f.body);
  return model;
}

// Models of which something is not known differ where they are seen to, and are never the same.
void add_unread(const std::string& path, const Model& model, Report& report) {
  const UnreadTensors unread = unread_tensors(model);
  if (!unread.count) return;
  const std::string what = fmt::format("{} constant{} not compared, {}", unread.count,
                                       unread.count == 1 ? " was" : "s were", not_there(unread));
  report.sections[0].notes.push_back(path + ": " + what);
  if (report.answer == Answer::kNo) return;
  report.answer = Answer::kNone;
  report.findings.push_back(
      {"nothing-compared", "error", what, "", "put the data files beside the model", path});
}

}  // namespace

Result<int> diff_structure(const std::string& reference, const std::string& test,
                           const CommonFlags& flags, const std::vector<ReportTarget>& targets,
                           const Streams& streams) {
  if (test.empty()) {
    // git hands over a copy of the file alone for one side, the file in its place for the other.
    ONNXTOOL_ASSIGN(const auto model, load_with_tensors(reference, ExternalData::kUnread));
    std::istringstream lines(outline(*model));
    for (std::string line; std::getline(lines, line);) streams.out << printable(line) << '\n';
    streams.out << std::flush;
    return 0;
  }
  ONNXTOOL_ASSIGN(const auto a, load_with_tensors(reference, ExternalData::kWhereThere));
  ONNXTOOL_ASSIGN(const auto b, load_with_tensors(test, ExternalData::kWhereThere));
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
  add_unread(reference, *a, report);
  add_unread(test, *b, report);
  return write_reports(report, targets, flags, false, streams);
}

}  // namespace onnxtool
