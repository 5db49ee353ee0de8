// A summary's histogram as a density, with what calibrators integrate over it. Internal to
// calib/ranges.
//
// Inside a bucket values are uniformly spread; a bucket of no width is a point mass. Zeros are a
// mass of their own: they are represented exactly by every grid.
#pragma once

#include <cstdint>
#include <vector>

#include "calib/ranges/calibrator.h"
#include "calib/ranges/summary.h"

namespace onnxtool {

class Density {
 public:
  /// The summary must have a histogram and something finite.
  explicit Density(const Summary& summary);

  double total() const { return total_; }  // finite values, zeros included
  double zeros() const { return zeros_; }
  double min() const { return min_; }
  double max() const { return max_; }
  bool any_negative() const { return min_ < 0; }
  bool any_positive() const { return max_ > 0; }
  /// Where a share of the values that no smooth density has there lies at the outermost value of a
  /// sign, as behind a Clip, that value's magnitude, and how many there are.
  struct Spike {
    double magnitude = 0, count = 0;
  };
  Spike negative_spike() const { return spike_of(negative_); }
  Spike positive_spike() const { return spike_of(positive_); }
  /// Sum of x^2.
  double energy() const;

  /// Number of values <= x, and how many are < 0.
  double below(double x) const;
  double negatives() const { return negatives_; }
  /// Number of non-zero values <= x, and of non-zero values with |value| <= x.
  double nonzero_to(double x) const { return x >= 0 ? below(x) - zeros_ : below(x); }
  double nonzero_magnitudes_to(double x) const {
    return positive_.mass_to(x) + negative_.mass_to(x);
  }
  /// Smallest x with below(x) >= mass (mass clipped to [0, total]).
  double quantile(double mass) const;
  /// The same of |x|.
  double magnitude_quantile(double mass) const;

  /// Sum of squared errors of rounding and saturating every value on the grid; exact, but for 8-bit
  /// floats, whose steps are so much wider than buckets that a bucket's middle stands for it.
  double squared_error(const Grid& grid, const QuantScheme& scheme) const;

  /// Values outside [low, high] summed as (x - limit)^2, plus step^2 / 12 for each other value
  /// except those within step / 2 of zero, which count x^2: what squared_error() is for a smooth
  /// density. A few binary searches instead of a pass over the buckets.
  double approximate_error(double low, double high, double step) const;

 private:
  // One sign of the values, as magnitudes in ascending order.
  struct Side {
    std::vector<double> lower, upper, count,
        spread;                        // spread: count / (upper - lower), 0 at point masses
    std::vector<double> mass, energy;  // of the buckets before i; size + 1 elements
    std::vector<double> tail_mass, tail_sum, tail_energy;  // of bucket i and those after; size + 1

    void append(double low, double high, double n);
    void finish();
    size_t size() const { return lower.size(); }
    double mass_to(double x) const;      // values of magnitude <= x
    double energy_to(double x) const;    // sum of x^2 over them
    double clipped(double limit) const;  // sum of (x - limit)^2 over those above the limit
    double rounded(double step,
                   double limit) const;  // sum of (x - nearest multiple of step)^2 up to limit
    double rounded_to_floats(double scale, double limit, const QuantScheme& scheme) const;
  };

  Spike spike_of(const Side& side) const;

  Side positive_, negative_;
  double total_ = 0, zeros_ = 0, negatives_ = 0, min_ = 0, max_ = 0;
};

/// One function per calibrator; the options are valid and the summary is finite and not empty.
Range minmax_range(const Summary& summary, const QuantScheme& scheme);
Range percentile_range(const Density& density, const QuantScheme& scheme, double percentile);
Range moving_average_range(std::span<const Extremes> samples, const QuantScheme& scheme,
                           bool plain_mean);
Range ort_percentile_range(const Density& density, double percentile);
Range entropy_range(const Density& density, const QuantScheme& scheme);
Range mse_range(const Density& density, const QuantScheme& scheme);

/// The range that grid_of() maps back to this grid: the values of qmin and qmax.
Range range_of(const Grid& grid, const QuantScheme& scheme);

}  // namespace onnxtool
