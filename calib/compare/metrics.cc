// The figures of samples put together, named and judged.
#include <algorithm>
#include <cmath>
#include <utility>

#include "calib/compare/metric_sums.h"
#include "calib/ranges/density.h"

namespace onnxtool {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

constexpr MetricInfo kInfos[] = {
    {"max-abs", "", false, "largest |e|; integers: largest difference in steps"},
    {"mean-abs", "", false, "mean |e|"},
    {"rmse", "", false, "square root of the mean e^2"},
    {"max-rel", "", false, "largest |e| / max(|r|, floor)"},
    {"rel-p50", "", false, "median of |e| / max(|r|, floor)"},
    {"rel-p99", "", false, "99th percentile of |e| / max(|r|, floor)"},
    {"sqnr", "dB", true, "10 log10(sum r^2 / sum e^2) over all samples"},
    {"sqnr-min", "dB", true, "sqnr of the worst sample"},
    {"psnr", "dB", true, "20 log10(largest |r| / rmse)"},
    {"cosine", "", true, "r.t / (norm r x norm t)"},
    {"gain", "", false, "norm t / norm r; its distance from 1 is judged"},
    {"ulp", "steps", false, "most floats of the output's type between r and t"},
    {"kl", "nat", false, "mean over rows of KL(softmax r || softmax t)"},
    {"kl-max", "nat", false, "largest over rows of KL(softmax r || softmax t)"},
    {"argmax", "share", true, "rows with the same argmax"},
    {"flips", "share", false, "rows whose argmax changed although neither side has a tie"},
    {"top-k", "share", true, "rows with the same set of k best"},
    {"mismatch", "share", false, "elements that are not equal"},
    {"outside", "share", false, "elements outside atol + rtol |r|"},
};
constexpr Metric kMetrics[] = {
    Metric::kMaxAbs, Metric::kMeanAbs, Metric::kRmse,       Metric::kMaxRel, Metric::kRelP50,
    Metric::kRelP99, Metric::kSqnr,    Metric::kSqnrMin,    Metric::kPsnr,   Metric::kCosine,
    Metric::kGain,   Metric::kUlp,     Metric::kKl,         Metric::kKlMax,  Metric::kArgmax,
    Metric::kFlips,  Metric::kTopK,    Metric::kMismatches, Metric::kOutside};
static_assert(std::size(kInfos) == std::size(kMetrics) &&
              static_cast<size_t>(Metric::kOutside) + 1 == std::size(kInfos));

/// q in [0, 1] of an ascending list, as numpy.percentile interpolates.
double percentile_of(const std::vector<double>& sorted, double q) {
  const double rank = q * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(rank);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (rank - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

}  // namespace

Verdict combine(Verdict a, Verdict b) {
  if (a == Verdict::kFail || b == Verdict::kFail) return Verdict::kFail;
  if (a == Verdict::kNone || b == Verdict::kNone) return Verdict::kNone;
  return Verdict::kPass;
}
const MetricInfo& info(Metric metric) { return kInfos[static_cast<size_t>(metric)]; }
std::span<const Metric> all_metrics() { return kMetrics; }
std::optional<Metric> find_metric(std::string_view name) {
  for (Metric m : kMetrics)
    if (info(m).name == name) return m;
  return std::nullopt;
}

void OutputMetrics::add(int64_t sample, SampleMetrics metrics) {
  total_.reset();
  // The distribution is exact in any order, so that one is enough, and memory stays small.
  relative_.merge(metrics.relative);
  metrics.relative = Summary();
  const bool fresh = samples_.emplace(sample, std::move(metrics)).second;
  ONNXTOOL_CHECK(fresh && !failures_.contains(sample));
}

void OutputMetrics::add_failure(int64_t sample, std::string why) {
  failures_.emplace(sample, std::move(why));
}

const OutputMetrics::Total& OutputMetrics::total() const {
  if (!total_) total_ = fold();
  return *total_;
}

OutputMetrics::Total OutputMetrics::fold() const {
  Total total;
  SampleMetrics& all = total.all;
  PairwiseSum<Scaled> r2, t2, rt, e2, abs_e;
  PairwiseSum<double> kl, sqnr_sum;
  std::vector<double> sqnrs;
  bool first = true;
  double worst = kInf;
  for (const auto& [id, m] : samples_) {
    if (first) all.floating = m.floating;
    join_counts(all, m);
    r2.add(m.sum_r2);
    t2.add(m.sum_t2);
    rt.add(m.sum_rt);
    e2.add(m.sum_e2);
    abs_e.add(m.sum_abs_e);
    kl.add(m.kl_sum);
    // Written so that NaN, the difference of strings, is taken as none.
    if (m.max_abs_index >= 0 && (total.max_abs_sample < 0 || m.max_abs > all.max_abs)) {
      all.max_abs = m.max_abs;
      all.max_abs_index = m.max_abs_index;
      total.max_abs_sample = id;
    }
    if (m.max_rel_index >= 0 && (total.max_rel_sample < 0 || m.max_rel > all.max_rel)) {
      all.max_rel = m.max_rel;
      all.max_rel_index = m.max_rel_index;
      total.max_rel_sample = id;
    }
    first = false;
    if (!m.floating || !m.any()) continue;
    const double db = m.sqnr();
    if (m.identical) {
      ++total.per_sample.identical;
    } else if (!(db > -kInf)) {
      ++total.per_sample.undefined;
      if (worst > -kInf) total.per_sample.worst = id;
      worst = -kInf;
    } else {
      if (db < worst) {
        worst = db;
        total.per_sample.worst = id;
      }
      sqnrs.push_back(db);
      sqnr_sum.add(db);
    }
  }
  all.sum_r2 = r2.total();
  all.sum_t2 = t2.total();
  all.sum_rt = rt.total();
  all.sum_e2 = e2.total();
  all.sum_abs_e = abs_e.total();
  all.kl_sum = kl.total();
  all.relative = relative_;
  if (!sqnrs.empty()) {
    std::sort(sqnrs.begin(), sqnrs.end());
    auto& p = total.per_sample;
    p.min = sqnrs.front();
    p.p1 = percentile_of(sqnrs, 0.01);
    p.p5 = percentile_of(sqnrs, 0.05);
    p.median = percentile_of(sqnrs, 0.5);
    p.mean = sqnr_sum.total() / static_cast<double>(sqnrs.size());
  }
  return total;
}

std::optional<double> OutputMetrics::value(Metric metric) const {
  const Total& total = this->total();
  const SampleMetrics& m = total.all;
  if (!m.any()) return std::nullopt;
  const auto compared = static_cast<double>(m.compared), rows = static_cast<double>(m.rows);
  const auto of_floats = [&](double v) {
    return m.floating && m.compared ? std::optional(v) : std::nullopt;
  };
  const auto of_rows = [&](uint64_t n) {
    return m.rows ? std::optional(static_cast<double>(n) / rows) : std::nullopt;
  };
  const auto relative = [&](double q) -> std::optional<double> {
    if (!m.floating || m.relative.count() == 0) return std::nullopt;
    const double mass = q * static_cast<double>(m.relative.count());
    if (mass > static_cast<double>(m.relative.finite())) return kInf;
    return Density(m.relative).quantile(mass);
  };
  switch (metric) {
    case Metric::kMaxAbs:
      return m.max_abs_index < 0 || std::isnan(m.max_abs) ? std::nullopt : std::optional(m.max_abs);
    case Metric::kMeanAbs:
      return of_floats(Scaled(m.sum_abs_e.value / compared, m.sum_abs_e.exponent).number());
    case Metric::kRmse:
      return of_floats(Scaled(m.sum_e2.value / compared, m.sum_e2.exponent).root());
    case Metric::kMaxRel: return of_floats(m.max_rel);
    case Metric::kRelP50: return relative(0.5);
    case Metric::kRelP99: return relative(0.99);
    case Metric::kSqnr:
      return of_floats(m.non_finite_mismatches ? kNan : decibels(m.sum_r2, m.sum_e2));
    case Metric::kSqnrMin:
      return of_floats(total.per_sample.undefined ? -kInf : total.per_sample.min);
    case Metric::kPsnr: {
      const Scaled peak = Scaled::of(m.absmax_r);
      return of_floats(decibels(peak * peak, {m.sum_e2.value / compared, m.sum_e2.exponent}));
    }
    case Metric::kCosine: {
      const bool zero_r = m.sum_r2.value == 0, zero_t = m.sum_t2.value == 0;
      if (zero_r || zero_t) return of_floats(zero_r && zero_t ? 1 : 0);
      if (m.sum_e2.value == 0) return of_floats(1);  // no rounding of the roots
      const double norms = std::sqrt(m.sum_r2.value) * std::sqrt(m.sum_t2.value);
      const int shift = m.sum_rt.exponent - (m.sum_r2.exponent + m.sum_t2.exponent) / 2;
      return of_floats(std::clamp(std::ldexp(m.sum_rt.value / norms, shift), -1.0, 1.0));
    }
    case Metric::kGain:
      if (m.sum_r2.value == 0) return of_floats(m.sum_t2.value == 0 ? 1 : kInf);
      return of_floats(
          Scaled(m.sum_t2.value / m.sum_r2.value, m.sum_t2.exponent - m.sum_r2.exponent).root());
    case Metric::kUlp: return of_floats(static_cast<double>(m.max_ulp));
    case Metric::kKl:
      return m.kl_rows ? std::optional(m.kl_sum / static_cast<double>(m.kl_rows)) : std::nullopt;
    case Metric::kKlMax: return m.kl_rows ? std::optional(m.kl_max) : std::nullopt;
    case Metric::kArgmax: return of_rows(m.argmax_equal);
    case Metric::kFlips: return of_rows(m.argmax_flips);
    case Metric::kTopK: return of_rows(m.topk_set_equal);
    case Metric::kMismatches:
      return static_cast<double>(m.mismatches) / static_cast<double>(m.elements);
    case Metric::kOutside:
      return static_cast<double>(m.outside_band) / static_cast<double>(m.elements);
  }
  return std::nullopt;
}

std::optional<Verdict> OutputMetrics::settled() const {
  const SampleMetrics& all = total().all;
  if (!failures_.empty() || all.non_finite_mismatches) return Verdict::kFail;
  if (!all.any()) return Verdict::kNone;
  return std::nullopt;
}

Verdict OutputMetrics::judge(Metric metric, double limit) const {
  if (const auto verdict = settled()) return *verdict;
  const auto v = value(metric);
  if (!v) return Verdict::kNone;
  const bool inside = metric == Metric::kGain         ? std::fabs(*v - 1) <= limit
                      : info(metric).higher_is_better ? *v >= limit
                                                      : *v <= limit;
  return inside ? Verdict::kPass : Verdict::kFail;
}

}  // namespace onnxtool
