// Mean and variance as the normalizations need them: in double, in a fixed order.
#pragma once

#include <cstdint>
#include <limits>

namespace onnxtool {

/// A mean of no elements.
inline constexpr float kOfNothing = std::numeric_limits<float>::quiet_NaN();

/// Eight chains hide the latency of an addition; their number is part of the result.
template <class T, class F>
double sum_of(const T* x, int64_t n, F&& f) {
  double sums[8] = {};
  int64_t i = 0;
  for (; i + 8 <= n; i += 8)
    for (int lane = 0; lane < 8; ++lane) sums[lane] += f(static_cast<double>(x[i + lane]));
  for (int lane = 0; i < n; ++i, ++lane) sums[lane] += f(static_cast<double>(x[i]));
  return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}
template <class T>
double sum_of(const T* x, int64_t n) {
  return sum_of(x, n, [](double v) { return v; });
}
template <class T>
double sum_of_squares_around(const T* x, int64_t n, double mean) {
  return sum_of(x, n, [mean](double v) { return (v - mean) * (v - mean); });
}

}  // namespace onnxtool
