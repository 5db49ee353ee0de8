#include "calib/compare/energy.h"

#include <algorithm>
#include <cmath>

#include "calib/compare/metric_sums.h"

namespace onnxtool {
namespace {

template <class R, class T>
void accumulate(const R* r, const T* t, int64_t count, Energy& e) {
  double signal = 0, error = 0;
  bool zero = true;
  for (int64_t i = 0; i < count; ++i) {
    const double a = widen(r[i]), b = widen(t[i]), d = b - a;
    // One test for both: a sum with an infinity or NaN is not finite.
    if (!std::isfinite(a + b) && (!std::isfinite(a) || !std::isfinite(b))) {
      e.non_finite += !(a == b || (std::isnan(a) && std::isnan(b)));
      continue;
    }
    signal += a * a;
    error += d * d;
    zero &= a == 0;
    e.max_abs = std::max(e.max_abs, std::fabs(d));
    ++e.compared;
  }
  if ((zero || is_safe_sum(signal)) && (e.max_abs == 0 || is_safe_sum(error))) {
    e.signal = signal;
    e.error = error;
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    const double a = widen(r[i]), b = widen(t[i]);
    if (!std::isfinite(a) || !std::isfinite(b)) continue;
    const Scaled s = Scaled::of(a), d = Scaled::difference(b, a);
    e.signal += s * s;
    e.error += d * d;
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

Energy energy_of(const ConstView& r, const ConstView& t) {
  Energy e;
  if (!is_float(r.dtype) || !is_float(t.dtype) ||
      !std::equal(r.dims.begin(), r.dims.end(), t.dims.begin(), t.dims.end())) {
    e.skipped = 1;
    return e;
  }
  visit_floating(r.dtype, [&]<class R>(R) {
    visit_floating(t.dtype, [&]<class T>(T) {
      accumulate(static_cast<const R*>(r.data), static_cast<const T*>(t.data), r.count, e);
    });
  });
  return e;
}

}  // namespace onnxtool
