#include "apps/diff_report.h"

#include <fmt/format.h>

#include <algorithm>

namespace onnxtool {
namespace {

Scalar scalar(std::optional<double> v) { return v ? Scalar(*v) : Scalar(); }

std::string sample_name(const SampleSource& source, int64_t index) {
  const auto sample = source.read(index);
  return sample.ok() ? sample->id : fmt::format("#{}", index);
}

std::string_view unit_of(const Gate& g) { return g.metric ? info(*g.metric).unit : "points"; }

std::string value_text(const GateResult& g) {
  if (!g.value) return "-";
  const std::string unit(unit_of(g.gate));
  return format_with_unit(*g.value, unit == "share" ? "" : unit);
}

std::string_view word(Verdict v) {
  return v == Verdict::kPass ? "pass" : v == Verdict::kFail ? "FAIL" : "no answer";
}

std::string key_of(Metric m) {
  std::string key(info(m).name);
  std::replace(key.begin(), key.end(), '-', '_');
  return info(m).unit == "dB" ? key + "_db" : key;
}

// Where the error is largest: by SQNR where it differs between samples, else by the largest error.
int64_t worst_sample(const OutputMetrics::Total& t) {
  return t.per_sample.worst >= 0 ? t.per_sample.worst : t.all.mismatches ? t.max_abs_sample : -1;
}

Table metrics_table(const ModelComparison& c) {
  Table t{"metrics",
          "",
          {{"output", "", ""},
           {"samples", "", ""},
           {"elements", "", ""},
           {"compared", "", ""},
           {"mismatched", "", ""},
           {"nan_reference_only", "", ""},
           {"nan_test_only", "", ""},
           {"nan_both", "", ""},
           {"infinity_mismatches", "", ""},
           {"identical", "", ""}},
          {},
          0,
          false};
  for (const Metric m : all_metrics()) t.columns.push_back({key_of(m), "", ""});
  for (const char* key : {"sqnr_p1_db", "sqnr_p5_db", "sqnr_median_db", "sqnr_mean_db"})
    t.columns.push_back({key, "", ""});
  const auto integer = [](uint64_t v) { return Scalar(static_cast<int64_t>(v)); };
  for (const auto& [output, m] : c.outputs) {
    const auto& total = m.total();
    const SampleMetrics& a = total.all;
    t.rows.push_back({output, m.samples(), integer(a.elements), integer(a.compared),
                      integer(a.mismatches), integer(a.nan_reference_only),
                      integer(a.nan_test_only), integer(a.nan_both), integer(a.infinity_mismatches),
                      a.any() && a.mismatches == 0 && m.failures().empty()});
    for (const Metric metric : all_metrics()) t.rows.back().push_back(scalar(m.value(metric)));
    const bool spread = a.floating && a.any();
    for (const double v :
         {total.per_sample.p1, total.per_sample.p5, total.per_sample.median, total.per_sample.mean})
      t.rows.back().push_back(spread ? Scalar(v) : Scalar());
  }
  return t;
}

}  // namespace

Section outputs_section(const ModelComparison& c, const SampleSource& source) {
  Section s{
      "outputs", fmt::format("Outputs over {} sample{}", c.samples, c.samples == 1 ? "" : "s"),
      {},        {},
      {},        false};
  Table t{"outputs",
          "",
          {{"output", "output", ""},
           {"sqnr_db", "SQNR", "dB"},
           {"max_abs", "max abs error", ""},
           {"mean_abs", "mean", ""},
           {"cosine", "cosine", ""},
           {"agreement_percent", "same top-1", "%"},
           {"mismatched", "not equal", ""},
           {"worst_sample_db", "worst sample", "dB"},
           {"worst_sample", "which", ""}},
          {},
          40};
  uint64_t nan_both = 0;
  for (const auto& [output, m] : c.outputs) {
    const auto& total = m.total();
    const auto agreement = m.value(Metric::kArgmax);
    const int64_t worst = worst_sample(total);
    nan_both += total.all.nan_both;
    t.rows.push_back({output, scalar(m.value(Metric::kSqnr)), scalar(m.value(Metric::kMaxAbs)),
                      scalar(m.value(Metric::kMeanAbs)), scalar(m.value(Metric::kCosine)),
                      agreement ? Scalar(100 * *agreement) : Scalar(),
                      static_cast<int64_t>(total.all.mismatches), scalar(m.value(Metric::kSqnrMin)),
                      worst < 0 ? Scalar() : Scalar(sample_name(source, worst))});
  }
  if (nan_both)
    s.notes.push_back(
        fmt::format("{} elements are NaN on both sides and count as equal", nan_both));
  s.tables.push_back(std::move(t));
  s.tables.push_back(metrics_table(c));
  return s;
}

Section gates_section(const std::vector<GateResult>& gates, const Band& band) {
  Section s{"gates", "Gates", {}, {}, {}, false};
  Table t{"gates",
          "",
          {{"output", "output", ""},
           {"gate", "gate", ""},
           {"value_text", "value", ""},
           {"verdict", "verdict", ""},
           {"by", "by", ""}},
          {},
          0};
  Table programs{"judged",
                 "",
                 {{"output", "", ""},
                  {"metric", "", ""},
                  {"limit", "", ""},
                  {"value", "", ""},
                  {"verdict", "", ""},
                  {"default", "", ""}},
                 {},
                 0,
                 false};
  bool band_used = false;
  for (const GateResult& g : gates) {
    band_used |= g.gate.metric == Metric::kOutside;
    const std::string metric =
        g.gate.metric ? std::string(info(*g.gate.metric).name) : "accuracy-drop";
    t.rows.push_back({g.output.empty() ? "labels" : g.output, metric + " " + expectation(g.gate),
                      value_text(g), std::string(word(g.verdict)),
                      std::string(g.by_default ? "default" : "given")});
    programs.rows.push_back({g.output, metric, g.gate.limit, scalar(g.value),
                             std::string(g.verdict == Verdict::kPass   ? "pass"
                                         : g.verdict == Verdict::kFail ? "fail"
                                                                       : "none"),
                             g.by_default});
  }
  if (band_used)
    s.notes.push_back(fmt::format(
        "outside: share of elements with |test - reference| above {:g} + {:g} x |reference|",
        band.atol, band.rtol));
  s.tables = {std::move(t), std::move(programs)};
  s.tables[0].key = "rows";
  return s;
}

Section accuracy_section(const ClassAccuracy& a) {
  Section s{"accuracy", "Accuracy", {}, {}, {}, false};
  const auto percent = [&](int64_t correct) {
    return 100 * static_cast<double>(correct) / static_cast<double>(a.images());
  };
  s.fields.push_back({"images", "labelled samples", a.images(), ""});
  s.fields.push_back({"reference_percent", "reference", percent(a.reference_correct()), "%"});
  s.fields.push_back({"test_percent", "test", percent(a.test_correct()), "%"});
  s.fields.push_back({"lost", "lost", static_cast<int64_t>(a.lost().size()), ""});
  s.fields.push_back({"won", "won", static_cast<int64_t>(a.won().size()), ""});
  return s;
}

std::vector<Finding> comparison_findings(const ModelComparison& c, const OutputPairing& pairing,
                                         const std::vector<GateResult>& gates,
                                         const SampleSource& source, bool has_layers) {
  std::vector<Finding> out;
  for (const std::string& name : pairing.missing)
    out.push_back({"missing-output", "error", "the test side has no such output",
                   "output '" + name + "'", "outputs are matched by name"});
  for (const std::string& name : pairing.extra)
    out.push_back({"extra-output", "error", "the reference has no such output",
                   "output '" + name + "'", "outputs are matched by name"});
  for (const auto& [output, m] : c.outputs) {
    const std::string place = "output '" + output + "'";
    if (!m.failures().empty()) {
      const auto& [index, why] = *m.failures().begin();
      const size_t more = m.failures().size() - 1;
      out.push_back({"output-mismatch", "error",
                     fmt::format("{} (sample '{}'{})", why, sample_name(source, index),
                                 more ? fmt::format(" and {} more", more) : ""),
                     place, ""});
    }
    const SampleMetrics& all = m.total().all;
    if (all.non_finite_mismatches)
      out.push_back({"new-non-finite", "error",
                     fmt::format("{} elements are NaN or infinite on one side only ({} NaN in the "
                                 "reference, {} in the test, {} infinities that differ)",
                                 all.non_finite_mismatches, all.nan_reference_only,
                                 all.nan_test_only, all.infinity_mismatches),
                     place, ""});
  }
  for (const GateResult& g : gates) {
    const std::string place = g.output.empty() ? "labels" : "output '" + g.output + "'";
    const std::string metric =
        g.gate.metric ? std::string(info(*g.gate.metric).name) : "accuracy-drop";
    if (g.verdict == Verdict::kNone)
      out.push_back({"nothing-compared", "error", "there is nothing to judge " + metric + " by",
                     place, "a comparison of nothing is no pass"});
    if (g.verdict != Verdict::kFail) continue;
    const auto it = std::find_if(c.outputs.begin(), c.outputs.end(),
                                 [&](const auto& o) { return o.first == g.output; });
    // What no limit can mend has its own finding.
    if (it != c.outputs.end() &&
        (!it->second.failures().empty() || it->second.total().all.non_finite_mismatches))
      continue;
    std::string message =
        g.gate.metric == Metric::kOutside && g.value
            ? fmt::format(
                  "{:.4g} % of the elements are off by more than {:g} + {:g} x |reference|, "
                  "expected at most {:.4g} %",
                  100 * *g.value, it->second.options().atol, it->second.options().rtol,
                  100 * g.gate.limit)
            : fmt::format("{} is {}, expected {}", metric, value_text(g), expectation(g.gate));
    if (const int64_t worst = it == c.outputs.end() ? -1 : worst_sample(it->second.total());
        worst >= 0) {
      message += fmt::format("; the worst sample is '{}'", sample_name(source, worst));
      if (const std::string& place = it->second.worst_place(worst); !place.empty())
        message += fmt::format(", its worst element {}", place);
    }
    out.push_back({g.gate.metric ? "drift" : "accuracy-drop", "error", message, place,
                   has_layers ? "--per-layer local names the layer that makes the error" : ""});
  }
  return out;
}

std::vector<Check> gate_checks(const std::vector<GateResult>& gates) {
  std::vector<Check> out;
  for (const GateResult& g : gates) {
    const std::string metric =
        g.gate.metric ? std::string(info(*g.gate.metric).name) : "accuracy-drop";
    const std::string place = g.output.empty() ? "labels" : "output '" + g.output + "'";
    const auto verdict = g.verdict == Verdict::kPass   ? Check::Verdict::kPass
                         : g.verdict == Verdict::kFail ? Check::Verdict::kFail
                                                       : Check::Verdict::kNone;
    const std::string code = g.verdict == Verdict::kNone ? "nothing-compared"
                             : g.gate.metric             ? "drift"
                                                         : "accuracy-drop";
    out.push_back({place, metric + " " + expectation(g.gate), code, metric + " is " + value_text(g),
                   verdict});
  }
  return out;
}

}  // namespace onnxtool
