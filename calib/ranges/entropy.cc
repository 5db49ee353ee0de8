// entropy: the limits that lose the least information, after S. Migacz, "8-bit Inference with
// TensorRT" (GTC 2017), on linear bins cut from the log-linear histogram.
//
// For a slice of the bins,
//   P   the slice, with the values outside of it added to its edge bins
//   Q   the slice alone, its bins merged into as many groups as the grid has levels there, and each
//       group's mass spread evenly over its bins that are not empty
// and the slice with the least KL(P || Q) wins. P and Q are normalized; Q is mixed with 1e-4 of a
// uniform distribution, so that an edge bin that only outliers fill has a finite cost. Zeros are
// left out: every grid represents them exactly, and after a Relu they would drown the rest.
//
//   symmetric, or one sign only   slices begin at zero (of |x| when symmetric); the end is searched
//   asymmetric, both signs        both ends are limits; each is searched in turn with the other
//   fixed
//
// Where many values are the outermost one, as behind a Clip, that end is no limit to be searched:
// the spike stays inside, and it is left out as zeros are, since it would drown the rest as well.
//
// Linear bins over a range with a far outlier would put everything into the first of them, where
// every slice looks perfect. So bins reach to eight times the 99th percentile of the magnitudes at
// most, and where the best slice uses less than a quarter of them, they are cut anew over twice
// that slice; what lies outside is kept as outliers. Empty-bin masking and group sums come from
// prefix sums, so that a candidate costs one logarithm a level.

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "calib/ranges/density.h"

namespace onnxtool {
namespace {

constexpr int kBins = 2048;           // as in the source; per sign
constexpr int kSteps[] = {64, 8, 1};  // of the search for a slice's end, coarse to fine
constexpr int kMaxZooms = 12;
constexpr double kReach = 8, kReachPercentile = 99;
constexpr double kSmoothing = 1e-4;

class Bins {
 public:
  /// mass_to(x) is the number of non-zero values <= x; bins divide [low, high] evenly.
  template <class MassTo>
  Bins(double low, double high, int bins, double total, const MassTo& mass_to)
      : low_(low),
        width_((high - low) / bins),
        mass_(static_cast<size_t>(bins)),
        sum_(1),
        filled_(1),
        entropy_(1) {
    below_ = mass_to(std::nextafter(low, -std::numeric_limits<double>::infinity()));
    double before = below_;
    for (int i = 0; i < bins; ++i) {
      const double upto = i + 1 == bins ? mass_to(high) : mass_to(low + (i + 1) * width_);
      const double m = std::max(0.0, upto - before);
      before = upto;
      mass_[static_cast<size_t>(i)] = m;
      sum_.push_back(sum_.back() + m);
      filled_.push_back(filled_.back() + (m > 0));
      entropy_.push_back(entropy_.back() + (m > 0 ? m * std::log(m) : 0));
    }
    above_ = std::max(0.0, total - before);
  }

  int size() const { return static_cast<int>(mass_.size()); }
  double edge(int i) const { return low_ + i * width_; }

  /// KL(P || Q) of bins [a, b) on `levels` levels.
  double divergence(int a, int b, int levels) const {
    const double inside = sum(a, b), outside_low = below_ + sum(0, a),
                 outside_high = above_ + sum(b, size());
    const double total = inside + outside_low + outside_high;
    if (inside <= 0) return std::numeric_limits<double>::infinity();
    // Sum of p log p, with both edge bins replaced; a == b - 1 cannot occur.
    const auto xlogx = [](double m) { return m > 0 ? m * std::log(m) : 0.0; };
    const double first = at(a), last = at(b - 1);
    double p = entropy_[index(b)] - entropy_[index(a)];
    p += xlogx(first + outside_low) - xlogx(first) + xlogx(last + outside_high) - xlogx(last);
    double kl = p / total - std::log(total);
    const double floor = kSmoothing / (b - a);
    const auto log_q = [&](double group_sum, double group_filled) {
      return std::log((1 - kSmoothing) * group_sum / (group_filled * inside) + floor);
    };
    for (int g = 0; g < levels; ++g) {
      const int from = a + static_cast<int>(int64_t{b - a} * g / levels);
      const int to = a + static_cast<int>(int64_t{b - a} * (g + 1) / levels);
      const double s = sum(from, to);
      if (s <= 0) continue;
      double weight = s;
      const double q = log_q(s, filled_[index(to)] - filled_[index(from)]);
      if (g == 0 && first > 0) weight += outside_low;
      if (g == levels - 1 && last > 0) weight += outside_high;
      kl -= weight / total * q;
    }
    // Outliers on an edge bin that is empty itself: Q has only the floor there.
    if (first <= 0) kl -= outside_low / total * std::log(floor);
    if (last <= 0) kl -= outside_high / total * std::log(floor);
    return kl;
  }

 private:
  static size_t index(int i) { return static_cast<size_t>(i); }
  double sum(int a, int b) const { return sum_[index(b)] - sum_[index(a)]; }
  double at(int i) const { return mass_[index(i)]; }

  double low_, width_;
  double below_ = 0, above_ = 0;
  std::vector<double> mass_, sum_, filled_, entropy_;  // the last three: prefix sums
};

/// The candidate in [first, last] with the least cost; the larger slice, given by `outward`, on a
/// tie.
template <class Cost>
int least(int first, int last, bool outward_is_up, const Cost& cost) {
  int from = first, to = last;
  int best = first;
  for (const int step : kSteps) {
    best = outward_is_up ? to : from;
    double best_cost = cost(best);
    for (int i = step; i <= to - from; i += step) {
      const int candidate = outward_is_up ? to - i : from + i;
      if (const double c = cost(candidate); c < best_cost) {
        best_cost = c;
        best = candidate;
      }
    }
    from = std::max(first, best - step);
    to = std::min(last, best + step);
  }
  return best;
}

/// The upper limit for values of one sign, given by their magnitudes; not below `kept`.
template <class MassTo>
double one_limit(double high, double kept, int levels, double total, const MassTo& mass_to) {
  for (int zoom = 0;; ++zoom) {
    const Bins bins(0, high, kBins, total, mass_to);
    const int first = static_cast<int>(std::min(std::ceil(kept / high * kBins), double{kBins}));
    const int end = least(std::max(first, levels), kBins, true,
                          [&](int b) { return bins.divergence(0, b, levels); });
    const double limit = end == kBins ? high : bins.edge(end);
    if (end * 4 >= kBins || zoom == kMaxZooms) return limit;
    high = 2 * limit;
  }
}

}  // namespace

Range entropy_range(const Density& density, const QuantScheme& scheme) {
  const double low = std::min(density.min(), 0.0), high = std::max(density.max(), 0.0);
  const int64_t all_levels = int64_t{scheme.qmax} - scheme.qmin + 1;
  const double extreme = std::max(high, -low);
  if (extreme == 0) return {0, 0};
  const Density::Spike below = density.negative_spike(), above = density.positive_spike();
  const double nonzero = density.total() - density.zeros(),
               smooth = nonzero - below.count - above.count;
  if (!(smooth > 0)) return {low, high};
  const double kept = std::max(below.magnitude, above.magnitude);
  const double reach = std::max(
      kept,
      kReach * density.magnitude_quantile(density.zeros() + nonzero * (kReachPercentile / 100)));

  const bool one_sided = !(density.any_negative() && density.any_positive());
  if (scheme.symmetric || one_sided) {
    const int64_t levels = scheme.symmetric ? all_levels / 2 : all_levels;
    // With at least as many levels as bins nothing is ever lost: 16-bit grids keep everything.
    double limit = extreme;
    if (levels < kBins && levels > 1)
      limit = one_limit(std::min(extreme, reach), kept, static_cast<int>(levels), smooth,
                        [&](double x) {
                          double mass = density.nonzero_magnitudes_to(x);
                          for (const Density::Spike& s : {below, above})
                            if (x >= s.magnitude) mass -= s.count;
                          return std::clamp(mass, 0.0, smooth);
                        });
    if (scheme.symmetric) return {-limit + 0.0, limit};
    return density.any_negative() ? Range{-limit, 0} : Range{0, limit};
  }

  if (all_levels >= 2 * kBins || all_levels < 2) return {low, high};
  const int levels = static_cast<int>(all_levels);
  Range window{below.count > 0 ? low : std::max(low, -reach),
               above.count > 0 ? high : std::min(high, reach)};
  for (int zoom = 0;; ++zoom) {
    const Bins bins(window.min, window.max, 2 * kBins, smooth, [&](double x) {
      return std::clamp(density.nonzero_to(x) - below.count, 0.0, smooth);
    });
    const int zero =
        static_cast<int>(std::lround(-window.min / (window.max - window.min) * bins.size()));
    int a = 0, b = bins.size();
    for (int turn = 0; turn < 3; ++turn) {
      const int first_b = std::max(zero, a + levels);
      const bool keeps_b = above.count > 0 || first_b > bins.size();
      const int next_b = keeps_b ? b : least(first_b, bins.size(), true, [&](int i) {
        return bins.divergence(a, i, levels);
      });
      const int last_a = std::min(zero, next_b - levels);
      const bool keeps_a = below.count > 0 || last_a < 0;
      const int next_a = keeps_a ? a : least(0, last_a, false, [&](int i) {
        return bins.divergence(i, next_b, levels);
      });
      const bool same = next_a == a && next_b == b;
      a = next_a;
      b = next_b;
      if (same) break;
    }
    const Range best{a == 0 ? window.min : std::min(0.0, bins.edge(a)),
                     b == bins.size() ? window.max : std::max(0.0, bins.edge(b))};
    if ((b - a) * 4 >= bins.size() || zoom == kMaxZooms) return best;
    window = {std::max(window.min, 2 * best.min), std::min(window.max, 2 * best.max)};
  }
}

}  // namespace onnxtool
