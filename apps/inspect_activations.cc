#include "apps/inspect_activations.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "calib/ranges/density.h"
#include "libopt/ir/operator_name.h"

namespace onnxtool {
namespace {

constexpr double kFp16Max = 65504;

class Counter final : public Observer {
 public:
  explicit Counter(size_t watched) : summaries(watched) {}
  Status observe(int watch, const ConstView& value) override {
    return summaries[static_cast<size_t>(watch)].add(value);
  }
  std::vector<Summary> summaries;
};

bool is_watched(const Value& v, const std::string& only) {
  return !v.constant() && v.type().is_tensor() && is_float(v.type().dtype) &&
         (v.producer() || v.is_graph_input()) && (only.empty() || v.name() == only);
}

bool passes_fp16(const Summary& s) {
  return s.finite() && std::max(std::fabs(s.min()), std::fabs(s.max())) > kFp16Max;
}

std::vector<Scalar> row_of(const Activation& a) {
  const Summary& s = a.summary;
  const Node* maker = a.value->producer();
  std::vector<Scalar> row = {a.value->name(), maker ? operator_name(*maker) : std::string("graph input")};
  const auto whole = static_cast<double>(s.count());
  if (s.finite()) {
    const Density density(s);
    row.insert(row.end(), {density.min(), density.quantile(0.01 * density.total()),
                           density.quantile(0.5 * density.total()),
                           density.quantile(0.99 * density.total()), density.max()});
  } else {
    row.resize(row.size() + 5);
  }
  row.push_back(whole > 0 ? Scalar(100 * static_cast<double>(s.zeros()) / whole) : Scalar());
  row.push_back(static_cast<int64_t>(s.nan()));
  row.push_back(static_cast<int64_t>(s.positive_infinity() + s.negative_infinity()));
  return row;
}

}  // namespace

Result<std::vector<Activation>> collect_activations(const Model& model, const SampleSource& source,
                                                    const RunOptions& run,
                                                    const std::string& only) {
  std::vector<const Value*> watched;
  for (const Value* v : model.graph().values())
    if (is_watched(*v, only)) watched.push_back(v);
  const auto workers = static_cast<size_t>(std::max(run.threads, 1));
  std::vector<Counter> counters(workers, Counter(watched.size()));
  ONNXTOOL_TRY(run_samples(model.graph(), watched, source, run,
                           [&](int worker, int64_t, const Sample& sample, RunContext& context) {
                             return context.run(sample.inputs, nullptr,
                                                &counters[static_cast<size_t>(worker)]);
                           }));
  std::vector<Activation> out;
  for (size_t i = 0; i < watched.size(); ++i) {
    out.push_back({watched[i], std::move(counters[0].summaries[i])});
    for (size_t w = 1; w < workers; ++w) out.back().summary.merge(counters[w].summaries[i]);
  }
  return out;
}

Section activations_section(const std::vector<Activation>& activations, int64_t samples,
                            const InspectLimits& limits) {
  Section s{"activations",
            fmt::format("Values over {} sample{}", samples, samples == 1 ? "" : "s"),
            {},
            {},
            {},
            false};
  Table t{"values",
          "",
          {{"name", "name", ""},
           {"made_by", "made by", ""},
           {"min", "min", ""},
           {"p1", "p1", ""},
           {"median", "median", ""},
           {"p99", "p99", ""},
           {"max", "max", ""},
           {"zeros_percent", "zeros", "%"},
           {"nan", "NaN", ""},
           {"infinite", "infinite", ""}},
          {},
          limits.rows};
  int64_t beyond = 0;
  for (const Activation& a : activations) {
    beyond += passes_fp16(a.summary);
    t.rows.push_back(row_of(a));
  }
  s.fields.push_back({"beyond_fp16", "values beyond the range of fp16", beyond, ""});
  s.tables.push_back(std::move(t));
  return s;
}

std::optional<Histogram> histogram_of(const Summary& summary, size_t steps) {
  if (!summary.finite()) return std::nullopt;
  const Density density(summary);
  Histogram h{density.min(), density.max(), {}};
  if (!(h.low < h.high)) return std::nullopt;
  const double step = h.high / static_cast<double>(steps) - h.low / static_cast<double>(steps);
  int64_t before = 0;
  for (size_t i = 1; i <= steps; ++i) {
    const double end = i == steps ? h.high : h.low + step * static_cast<double>(i);
    const auto upto = static_cast<int64_t>(std::llround(density.below(end)));
    h.counts.push_back(std::max<int64_t>(upto - before, 0));
    before = std::max(upto, before);
  }
  return h;
}

}  // namespace onnxtool
