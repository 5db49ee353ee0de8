#include "calib/compare/latency.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

namespace onnxtool {
namespace {

// Of sorted values; the median of an even number is a value too, which keeps it simple.
double quantile(std::span<const double> sorted, double p) {
  const auto rank = static_cast<size_t>(std::ceil(p * static_cast<double>(sorted.size())));
  return sorted[std::clamp<size_t>(rank, 1, sorted.size()) - 1];
}

double median(std::vector<double>& values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

double middle_mean(std::vector<double> ms) {
  std::sort(ms.begin(), ms.end());
  const auto quarter = static_cast<std::ptrdiff_t>(ms.size() / 4);
  return std::accumulate(ms.begin() + quarter, ms.end() - quarter, 0.0) /
         static_cast<double>(std::ssize(ms) - 2 * quarter);
}

Latency summarize_latency(std::vector<double> ms) {
  if (ms.empty()) return {};
  std::sort(ms.begin(), ms.end());
  const double sum = std::accumulate(ms.begin(), ms.end(), 0.0);
  return {static_cast<int64_t>(ms.size()),
          ms[0],
          sum / static_cast<double>(ms.size()),
          quantile(ms, 0.5),
          quantile(ms, 0.9),
          quantile(ms, 0.99)};
}

RatioInterval ratio_interval(std::span<const double> a, std::span<const double> b) {
  constexpr int kResamples = 2000;
  std::vector<double> ratios;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) ratios.push_back(a[i] / b[i]);
  std::mt19937_64 random(1);
  std::vector<double> medians, drawn(ratios.size());
  for (int k = 0; k < kResamples; ++k) {
    for (double& d : drawn) d = ratios[random() % ratios.size()];
    medians.push_back(median(drawn));
  }
  std::sort(medians.begin(), medians.end());
  return {median(ratios), quantile(medians, 0.025), quantile(medians, 0.975)};
}

}  // namespace onnxtool
