// What repeated timings say: quantiles, and how sure a ratio of two is.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace onnxtool {

/// Of one run each, in milliseconds.
struct Latency {
  int64_t runs = 0;
  double min = 0, mean = 0, p50 = 0, p90 = 0, p99 = 0;
};

/// Quantiles are timings that were taken (the smallest that at least p % of all do not exceed); all
/// 0 without timings.
Latency summarize_latency(std::vector<double> ms);

struct RatioInterval {
  double ratio = 0;          // median of a[i] / b[i]
  double low = 0, high = 0;  // 95 % of the medians of resampled ratios lie between
};

/// Of fewer pairs an interval would say nothing: those of resampled pairs lie on few numbers.
inline constexpr size_t kFewestPairs = 10;

/// The mean of the timings between the quartiles: interruptions do not count, and it is not bound
/// to the steps of the clock as a median is. At least one.
double middle_mean(std::vector<double> ms);

/// `a` and `b` are timings taken in turns, pair by pair, so that what disturbs both does not count.
/// The same timings give the same interval. At least one pair; every b[i] above 0.
RatioInterval ratio_interval(std::span<const double> a, std::span<const double> b);

}  // namespace onnxtool
