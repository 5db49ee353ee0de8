#include "calib/compare/energy.h"

#include <algorithm>
#include <cmath>

#include "calib/compare/metric_sums.h"

namespace onnxtool {
namespace {

struct PlainSums {
  double signal = 0, error = 0;
  double max_signal = 0, max_error = 0;  // of absolute values
};

// In lanes, which do not wait for one another. False: a number is not finite, and nothing counts.
template <class R, class T>
bool add_finite(const R* r, const T* t, int64_t count, PlainSums& sums) {
  constexpr int64_t kLanes = 8;
  double signal[kLanes] = {}, error[kLanes] = {}, max_signal[kLanes] = {}, max_error[kLanes] = {},
         probe[kLanes] = {};
  const auto add = [&](int64_t i, int64_t k) {
    const double a = widen(r[i]), b = widen(t[i]), d = b - a;
    signal[k] += a * a;
    error[k] += d * d;
    const double s = std::fabs(a), m = std::fabs(d);
    max_signal[k] = s > max_signal[k] ? s : max_signal[k];
    max_error[k] = m > max_error[k] ? m : max_error[k];
    probe[k] += (a + b) * 0;  // NaN where one of them is not finite
  };
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    for (int64_t k = 0; k < kLanes; ++k) add(i + k, k);
  for (; i < count; ++i) add(i, 0);
  double all = 0;
  PlainSums block;
  for (int64_t k = 0; k < kLanes; ++k) {
    all += probe[k];
    block.signal += signal[k];
    block.error += error[k];
    block.max_signal = std::max(block.max_signal, max_signal[k]);
    block.max_error = std::max(block.max_error, max_error[k]);
  }
  if (all != 0) return false;
  sums.signal += block.signal;
  sums.error += block.error;
  sums.max_signal = std::max(sums.max_signal, block.max_signal);
  sums.max_error = std::max(sums.max_error, block.max_error);
  return true;
}

template <class R, class T>
void accumulate(const R* r, const T* t, int64_t count, Energy& e) {
  constexpr int64_t kBlock = 2048;
  PlainSums sums;
  for (int64_t start = 0; start < count; start += kBlock) {
    const int64_t size = std::min(kBlock, count - start);
    if (add_finite(r + start, t + start, size, sums)) {
      e.compared += static_cast<uint64_t>(size);
      continue;
    }
    for (int64_t i = start; i < start + size; ++i) {
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
  e.max_abs = sums.max_error;
  if ((sums.max_signal == 0 || is_safe_sum(sums.signal)) &&
      (sums.max_error == 0 || is_safe_sum(sums.error))) {
    e.signal = sums.signal;
    e.error = sums.error;
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
