// mse: the grid with the least expected squared error E[(x - dq(q(x)))^2], rounding and saturation
// together, integrated exactly over the histogram (density.h).
//
// The unknowns are the scale and, when asymmetric and both signs occur, the zero point. A coarse
// search over limits (geometric ladders from the extrema inwards) uses the closed form of a smooth
// density; its best point, and the ranges of minmax and of three percentiles, are then compared and
// refined with the exact integral, where many values are one (behind a Clip) such that it is a
// code. So the result is never worse than minmax on the observed values.
//
// Source: the objective is that of R. Banner et al., "Post-training 4-bit quantization of
// convolution networks for rapid-deployment" (2019), section 2.1, without its assumption on the
// distribution.

#include <algorithm>
#include <cmath>
#include <vector>

#include "calib/ranges/density.h"

namespace onnxtool {
namespace {

constexpr int kRungs =
    40;  // of a ladder: neighbours differ by 10 % where 1.5 % of the range remains
constexpr int kPairRungs = 20;  // with both limits free
constexpr int kOctave = 16;     // scales of 8-bit floats beyond the widest range
// Ladders reach from the extremum to half of this percentile of the side's magnitudes.
constexpr double kInnermost = 0.95;

struct Best {
  Grid grid;
  double error;
};

class Search {
 public:
  Search(const Density& density, const QuantScheme& scheme)
      : density_(density),
        scheme_(scheme),
        levels_(static_cast<double>(scheme.qmax) - scheme.qmin) {}

  void consider(const Grid& grid) {
    const double error = density_.squared_error(grid, scheme_);
    if (!found_ || error < best_.error) best_ = {grid, error};
    found_ = true;
  }
  void consider(Range range) { consider(grid_of(range, scheme_)); }

  /// Scales around the best one, at its zero point: steps of `ratio` on both sides, closing in.
  void refine_scale(double ratio, int rounds) {
    for (int round = 0; round < rounds; ++round) {
      const Grid from = best_.grid;
      for (int i = -3; i <= 3; ++i)
        if (i != 0) consider(Grid{from.scale * std::pow(ratio, i / 3.0), from.zero_point});
      ratio = std::pow(ratio, 1 / 3.5);
    }
  }

  /// Neighbouring zero points, each with the scale that keeps one of the two limits, until none is
  /// better.
  void refine_zero_point() {
    const auto step = std::max<int32_t>(1, static_cast<int32_t>(levels_ / 255));
    for (int moves = 0; moves < 16; ++moves) {
      const Grid from = best_.grid;
      for (int32_t zero : {from.zero_point - step, from.zero_point + step}) {
        if (zero < scheme_.qmin || zero > scheme_.qmax) continue;
        consider(Grid{from.scale, zero});
        if (zero > scheme_.qmin && from.zero_point > scheme_.qmin)
          consider(
              Grid{from.scale * (from.zero_point - scheme_.qmin) / (zero - scheme_.qmin), zero});
        if (zero < scheme_.qmax && from.zero_point < scheme_.qmax)
          consider(
              Grid{from.scale * (scheme_.qmax - from.zero_point) / (scheme_.qmax - zero), zero});
      }
      if (best_.grid.zero_point == from.zero_point) break;
    }
  }

  /// Scales that put a spike on a code, near the best one: between two codes it costs more than all
  /// other values. The codes beyond it may go to the other side.
  void refine_at(double spike) {
    if (spike == 0) return;
    constexpr int kCodes = 16;
    const Grid from = best_.grid;
    const double middle = std::nearbyint(std::abs(spike) / from.scale);
    for (int i = -kCodes; i <= kCodes; ++i) {
      const double codes = middle + i;
      if (codes < 1 || codes > levels_) continue;
      const double scale = std::abs(spike) / codes;
      consider(Grid{scale, from.zero_point});
      if (scheme_.symmetric || scheme_.is_float8()) continue;
      const auto n = static_cast<int32_t>(codes);
      consider(Grid{scale, spike > 0 ? scheme_.qmax - n : scheme_.qmin + n});
    }
  }

  const Grid& best() const { return best_.grid; }
  double levels() const { return levels_; }

 private:
  const Density& density_;
  const QuantScheme& scheme_;
  const double levels_;
  Best best_{};
  bool found_ = false;
};

/// Ascending factors of the outermost limit, from `inner` to 1.
std::vector<double> ladder(double inner, int rungs) {
  std::vector<double> factors;
  for (int i = 0; i < rungs; ++i)
    factors.push_back(std::pow(inner, 1 - static_cast<double>(i) / (rungs - 1)));
  return factors;
}

}  // namespace

Range mse_range(const Density& density, const QuantScheme& scheme) {
  const double low = std::min(density.min(), 0.0), high = std::max(density.max(), 0.0);
  const bool two_sided = density.any_negative() && density.any_positive() && !scheme.symmetric;
  Search search(density, scheme);
  search.consider(Range{low, high});
  const Grid widest = search.best();
  // All zero, or too small for a scale.
  if (std::max(high, -low) / search.levels() < 0x1p-126) return {low, high};
  for (double p : {99.9, 99.99, 99.999}) search.consider(percentile_range(density, scheme, p));

  // Where the ladders end, as a factor of the extremum.
  const double nonzero = density.total() - density.zeros();
  const auto innermost = [&](double quantile, double extreme) {
    return std::clamp(0.5 * std::fabs(quantile) / extreme, 1e-9, 0.5);
  };
  double ratio;
  if (two_sided) {
    const double positives = nonzero - density.negatives();
    const double inner_low =
        innermost(density.quantile((1 - kInnermost) * density.negatives()), -low);
    const double inner_high =
        innermost(density.quantile(density.total() - (1 - kInnermost) * positives), high);
    const std::vector<double> lows = ladder(inner_low, kPairRungs),
                              highs = ladder(inner_high, kPairRungs);
    double least = -1;
    Range best{low, high};
    for (double l : lows) {
      for (double h : highs) {
        const double error =
            density.approximate_error(l * low, h * high, (h * high - l * low) / search.levels());
        if (least < 0 || error < least) {
          least = error;
          best = {l * low, h * high};
        }
      }
    }
    search.consider(best);
    ratio = std::pow(std::min(inner_low, inner_high), -1.0 / (kPairRungs - 1));
  } else {
    const double extreme = std::max(high, -low);
    const double inner = innermost(
        density.magnitude_quantile(density.total() - (1 - kInnermost) * nonzero), extreme);
    for (double factor : ladder(inner, kRungs))
      search.consider(Grid{widest.scale * factor, widest.zero_point});
    // Steps of floats grow with their values: where between two powers of two the largest value
    // comes to stand matters, even if the highest codes are left over.
    for (int i = 1; scheme.is_float8() && i < kOctave; ++i)
      search.consider(Grid{widest.scale * std::exp2(static_cast<double>(i) / kOctave), 0});
    ratio = std::pow(inner, -1.0 / (kRungs - 1));
  }

  ratio = std::max(ratio, 1.02);
  search.refine_scale(ratio, 1);
  if (two_sided) {
    search.refine_zero_point();
    search.refine_scale(std::min(ratio, 1.1), 2);
    search.refine_zero_point();
  }
  search.refine_scale(std::pow(ratio, 1 / 3.5), 3);
  search.refine_at(density.positive_spike().magnitude);
  search.refine_at(-density.negative_spike().magnitude);
  return range_of(search.best(), scheme);
}

}  // namespace onnxtool
