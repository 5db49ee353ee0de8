#include "calib/compare/energy.h"

#include <algorithm>
#include <cmath>

#include "calib/compare/energy_sums.h"
#include "calib/compare/metric_sums.h"
#include "calib/compare/numbers.h"
#include "libopt/ir/code_type.h"

namespace onnxtool {
namespace {

bool add_block(const float* r, const float* t, int64_t count, PlainSums& sums) {
  return energy_sums().floats(r, t, count, sums);
}
bool add_block(const double* r, const double* t, int64_t count, PlainSums& sums) {
  return energy_sums().doubles(r, t, count, sums);
}

// Numbers one by one, those that are not finite left out.
template <class Real>
void add_mixed(const Real* r, const Real* t, int64_t count, PlainSums& sums, Energy& e) {
  for (int64_t i = 0; i < count; ++i) {
    const double a = widen(r[i]), b = widen(t[i]), d = b - a;
    if (!std::isfinite(a) || !std::isfinite(b)) {
      e.non_finite += !(a == b || (std::isnan(a) && std::isnan(b)));
      continue;
    }
    sums.signal += a * a;
    sums.error += d * d;
    sums.max_signal = std::max(sums.max_signal, std::fabs(a));
    sums.max_error = std::max(sums.max_error, std::fabs(d));
    ++e.compared;
  }
}

template <class Real>
void accumulate(Numbers<Real> r, Numbers<Real> t, int64_t count, Energy& e) {
  PlainSums sums;
  for (int64_t start = 0; start < count; start += kNumbersBlock) {
    const int64_t size = std::min(kNumbersBlock, count - start);
    const Real *a = r.at(start, size), *b = t.at(start, size);
    if (add_block(a, b, size, sums))
      e.compared += static_cast<uint64_t>(size);
    else
      add_mixed(a, b, size, sums, e);
  }
  e.max_abs = sums.max_error;
  if ((sums.max_signal == 0 || is_safe_sum(sums.signal)) &&
      (sums.max_error == 0 || is_safe_sum(sums.error))) {
    e.signal = sums.signal;
    e.error = sums.error;
    return;
  }
  for (int64_t start = 0; start < count; start += kNumbersBlock) {
    const int64_t size = std::min(kNumbersBlock, count - start);
    const Real *a = r.at(start, size), *b = t.at(start, size);
    for (int64_t i = 0; i < size; ++i) {
      const double x = widen(a[i]), y = widen(b[i]);
      if (!std::isfinite(x) || !std::isfinite(y)) continue;
      const Scaled s = Scaled::of(x), d = Scaled::difference(y, x);
      e.signal += s * s;
      e.error += d * d;
    }
  }
}

}  // namespace

void Energy::add(const Energy& e) {
  signal += e.signal;
  error += e.error;
  max_abs = std::max(max_abs, e.max_abs);
  compared += e.compared;
  non_finite += e.non_finite;
  skipped += e.skipped;
}

double Energy::sqnr() const {
  if (non_finite) return -std::numeric_limits<double>::infinity();
  return compared ? decibels(signal, error) : std::numeric_limits<double>::quiet_NaN();
}

Energy energy_of(const ConstView& r, const ConstView& t, const CodeParams& codes) {
  Energy e;
  const bool coded = is_8bit(t.dtype) && codes.scale > 0;
  if (!is_float(r.dtype) || !(is_float(t.dtype) || coded) ||
      !std::equal(r.dims.begin(), r.dims.end(), t.dims.begin(), t.dims.end())) {
    e.skipped = 1;
    return e;
  }
  if (r.dtype == DataType::kDouble || t.dtype == DataType::kDouble)
    accumulate(Numbers<double>(r, codes), Numbers<double>(t, codes), r.count, e);
  else
    accumulate(Numbers<float>(r, codes), Numbers<float>(t, codes), r.count, e);
  return e;
}

}  // namespace onnxtool
