#include "libopt/analysis/statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace onnxtool {
namespace {

// Weights are floats: they are read in place, everything else is converted first.
template <class F>
void for_each_number(const Tensor& t, F&& f) {
  if (t.dtype() != DataType::kFloat) {
    for (const double v : t.to_doubles()) f(v);
    return;
  }
  for (int64_t i = 0; i < t.count(); ++i) {
    float v;
    std::memcpy(&v, t.bytes().data() + static_cast<size_t>(i) * sizeof v, sizeof v);
    f(static_cast<double>(v));
  }
}

}  // namespace

bool has_statistics(DataType dtype) {
  return dtype != DataType::kString && dtype != DataType::kComplex64 &&
         dtype != DataType::kComplex128 && dtype != DataType::kUndefined;
}

TensorStatistics statistics_of(const Tensor& tensor) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  TensorStatistics s;
  s.min = kInfinity, s.max = -kInfinity;
  double squares = 0;
  for_each_number(tensor, [&](double v) {
    s.zeros += v == 0;
    s.nan += std::isnan(v);
    s.infinite += std::isinf(v);
    if (!std::isfinite(v)) return;
    ++s.finite;
    s.min = std::min(s.min, v);
    s.max = std::max(s.max, v);
    // Welford's recurrence: squares of large values would swallow the spread.
    const double delta = v - s.mean;
    s.mean += delta / static_cast<double>(s.finite);
    squares += delta * (v - s.mean);
  });
  if (s.finite)
    s.std = std::sqrt(squares / static_cast<double>(s.finite));
  else
    s.min = s.max = 0;
  return s;
}

ValueCounts count_values(const Tensor& tensor, size_t steps) {
  constexpr double kMax = std::numeric_limits<double>::max();
  ValueCounts out{kMax, -kMax, {}};
  for_each_number(tensor, [&](double v) {
    if (!std::isfinite(v)) return;
    out.low = std::min(out.low, v);
    out.high = std::max(out.high, v);
  });
  if (out.low > out.high) return {};
  if (!is_float(tensor.dtype()) && out.high - out.low < 256) {
    steps = static_cast<size_t>(out.high - out.low) + 1;
    out.low -= 0.5;
    out.high += 0.5;
  }
  out.counts.assign(steps, 0);
  // Halves: the distance of the largest numbers of both signs is none.
  const double width = out.high / 2 - out.low / 2;
  const double scale = width > 0 ? static_cast<double>(steps) / width : 0;
  for_each_number(tensor, [&](double v) {
    if (!std::isfinite(v)) return;
    const double at = std::isfinite(scale) ? (v / 2 - out.low / 2) * scale : 0;
    ++out.counts[std::min(static_cast<size_t>(at), steps - 1)];
  });
  return out;
}

}  // namespace onnxtool
