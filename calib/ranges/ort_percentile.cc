// percentile as onnxruntime's quantize_static computes it (1.31): 2048 linear bins over the
// magnitudes, and the left edge of the bin where their cumulated share reaches the percentile is
// the limit on both sides, cut at what was observed. A grid need not be symmetric for that.
//
// Its bins are cut from all values at once; here they are read off the log-linear histogram, whose
// steps are finer than they are anywhere but in the lowest few.

#include <algorithm>
#include <cmath>

#include "calib/ranges/density.h"

namespace onnxtool {
namespace {

constexpr double kBins = 2048;
constexpr double kLeast = 1e-9;  // of a count: where the first value lies

}  // namespace

Range ort_percentile_range(const Density& density, double percentile) {
  const double high = std::max(density.max(), -density.min());
  const double low = density.zeros() > 0 ? 0 : density.magnitude_quantile(kLeast);
  double limit = high;
  if (high > low) {
    const double width = (high - low) / kBins;
    const double at = density.magnitude_quantile(density.total() * (percentile / 100));
    limit = low + width * std::min(std::floor((at - low) / width), kBins - 1);
  }
  return {std::min(0.0, std::max(-limit, density.min())),
          std::max(0.0, std::min(limit, density.max()))};
}

}  // namespace onnxtool
