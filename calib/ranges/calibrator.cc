// Grids, the choice of the calibrator, and the error that a range costs.

#include "calib/ranges/calibrator.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "calib/ranges/density.h"

namespace onnxtool {
namespace {

struct Entry {
  Calibrator calibrator;
  std::string_view name;
};
constexpr Entry kEntries[] = {{Calibrator::kMinMax, "minmax"},
                              {Calibrator::kMovingAverage, "moving-average"},
                              {Calibrator::kPercentile, "percentile"},
                              {Calibrator::kEntropy, "entropy"},
                              {Calibrator::kMse, "mse"}};

}  // namespace

Grid grid_of(Range range, const QuantScheme& scheme) {
  double low = std::min(range.min, 0.0), high = std::max(range.max, 0.0);
  if (scheme.symmetric) {
    high = std::max(-low, high);
    low = -high;
  }
  const double scale = (high - low) / (static_cast<double>(scheme.qmax) - scheme.qmin);
  if (!(scale >= static_cast<double>(std::numeric_limits<float>::min()))) return {};
  // nearbyint: half to even in the default rounding mode, which nothing here changes.
  const double zero = scheme.symmetric ? 0.5 * (static_cast<double>(scheme.qmin) + scheme.qmax)
                                       : static_cast<double>(scheme.qmin) - low / scale;
  return {scale, static_cast<int32_t>(std::nearbyint(zero))};
}

Range range_of(const Grid& grid, const QuantScheme& scheme) {
  if (scheme.symmetric) {
    const double half = 0.5 * (static_cast<double>(scheme.qmax) - scheme.qmin) * grid.scale;
    return {-half, half};
  }
  // + 0.0: no negative zero.
  return {(static_cast<double>(scheme.qmin) - grid.zero_point) * grid.scale + 0.0,
          (static_cast<double>(scheme.qmax) - grid.zero_point) * grid.scale + 0.0};
}

std::string_view name(Calibrator calibrator) {
  for (const Entry& e : kEntries)
    if (e.calibrator == calibrator) return e.name;
  return "unknown";
}

Result<Calibrator> parse_calibrator(std::string_view text) {
  std::string known;
  for (const Entry& e : kEntries) {
    if (e.name == text) return e.calibrator;
    known += (known.empty() ? "" : ", ") + std::string(e.name);
  }
  return Error{ErrorCode::kUsage,
               "calibrator '" + std::string(text) + "' is unknown, expected one of " + known,
               {}};
}

Result<Range> calibrate(Calibrator calibrator, const Summary& summary, const QuantScheme& scheme,
                        const CalibratorOptions& options, std::span<const Extremes> samples) {
  if (summary.count() == 0)
    return Error{ErrorCode::kBadData, "no values were observed: it is empty for every sample",
                 "leave what reads it in float (--exclude), or give other samples"};
  if (!summary.all_finite())
    return Error{ErrorCode::kNotFinite,
                 std::to_string(summary.nan()) + " NaN and " +
                     std::to_string(summary.positive_infinity() + summary.negative_infinity()) +
                     " infinite among " + std::to_string(summary.count()) +
                     " values, expected finite ones only",
                 {}};
  if (calibrator == Calibrator::kMinMax) return minmax_range(summary, scheme);
  if (calibrator == Calibrator::kMovingAverage) {
    if (samples.empty())
      return Error{ErrorCode::kBadData,
                   "the moving average needs the extremes of each sample, which were not kept",
                   {}};
    return moving_average_range(samples, scheme, options.ort_compat);
  }
  // Its 128 bins leave the default entropy search with one candidate, which holds everything.
  if (calibrator == Calibrator::kEntropy && options.ort_compat)
    return minmax_range(summary, scheme);
  if (summary.mode() != Summary::Mode::kHistogram)
    return Error{ErrorCode::kBadData,
                 "calibrator '" + std::string(name(calibrator)) +
                     "' needs a histogram, but only min and max were kept",
                 {}};
  if (calibrator == Calibrator::kPercentile &&
      !(options.percentile > 0 && options.percentile <= 100))
    return Error{ErrorCode::kUsage,
                 "percentile is " + std::to_string(options.percentile) +
                     ", expected more than 0 and at most 100",
                 {}};
  if (calibrator == Calibrator::kEntropy && scheme.is_float8())
    return Error{ErrorCode::kUsage, "the entropy calibrator chooses ranges of integers",
                 "with 8-bit floats use mse, percentile or minmax"};
  const Density density(summary);
  switch (calibrator) {
    case Calibrator::kMinMax:
    case Calibrator::kMovingAverage: break;
    case Calibrator::kPercentile:
      return options.ort_compat ? ort_percentile_range(density, options.percentile)
                                : percentile_range(density, scheme, options.percentile);
    case Calibrator::kEntropy: return entropy_range(density, scheme);
    case Calibrator::kMse: return mse_range(density, scheme);
  }
  check_failed(__FILE__, __LINE__, "calibrator is listed");
}

double expected_mse(const Summary& summary, Range range, const QuantScheme& scheme) {
  if (summary.mode() != Summary::Mode::kHistogram || summary.finite() == 0)
    return std::numeric_limits<double>::quiet_NaN();
  const Density density(summary);
  return density.squared_error(grid_of(range, scheme), scheme) / density.total();
}

double expected_sqnr(const Summary& summary, Range range, const QuantScheme& scheme) {
  if (summary.mode() != Summary::Mode::kHistogram || summary.finite() == 0)
    return std::numeric_limits<double>::quiet_NaN();
  const Density density(summary);
  const double error = density.squared_error(grid_of(range, scheme), scheme);
  return error > 0 ? 10 * std::log10(density.energy() / error)
                   : std::numeric_limits<double>::infinity();
}

}  // namespace onnxtool
