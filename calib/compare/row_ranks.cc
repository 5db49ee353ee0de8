// What one row of scores says: its best, its k best, and how far its softmax is from another's.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "calib/compare/metric_sums.h"

namespace onnxtool {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kSmallestProbability = 1e-12;

}  // namespace

int64_t argmax_of(std::span<const double> v) {
  int64_t best = -1;
  for (size_t i = 0; i < v.size(); ++i)
    if (!std::isnan(v[i]) && (best < 0 || v[i] > v[static_cast<size_t>(best)]))
      best = static_cast<int64_t>(i);
  return best;
}

void top_of(std::span<const double> v, size_t k, std::vector<int64_t>& order) {
  order.resize(v.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  std::partial_sort(order.begin(), order.begin() + static_cast<int64_t>(k), order.end(),
                    [&](int64_t a, int64_t b) {
                      const double x = v[static_cast<size_t>(a)], y = v[static_cast<size_t>(b)];
                      if (std::isnan(x) || std::isnan(y))
                        return std::isnan(x) == std::isnan(y) ? a < b : std::isnan(y);
                      return x != y ? x > y : a < b;
                    });
  order.resize(k);
}

std::optional<double> divergence(std::span<const double> r, std::span<const double> t) {
  double max_r = -kInf, max_t = -kInf;
  for (size_t i = 0; i < r.size(); ++i) {
    if (std::isnan(r[i]) || std::isnan(t[i]) || r[i] == kInf || t[i] == kInf) return std::nullopt;
    max_r = std::max(max_r, r[i]);
    max_t = std::max(max_t, t[i]);
  }
  if (max_r == -kInf || max_t == -kInf) return std::nullopt;
  double sum_r = 0, sum_t = 0;
  for (size_t i = 0; i < r.size(); ++i) {
    sum_r += std::exp(r[i] - max_r);
    sum_t += std::exp(t[i] - max_t);
  }
  const double log_floor = std::log(kSmallestProbability), log_r = std::log(sum_r),
               log_t = std::log(sum_t);
  double kl = 0;
  for (size_t i = 0; i < r.size(); ++i) {
    const double log_p = r[i] - max_r - log_r;
    const double p = std::exp(log_p);
    if (p > 0) kl += p * (log_p - std::max(t[i] - max_t - log_t, log_floor));
  }
  return std::max(kl, 0.0);  // rounding can leave a small negative
}

}  // namespace onnxtool
