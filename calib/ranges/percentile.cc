// percentile: leaves out the outermost values, by count.
//
//   symmetric    the p-th percentile of |x|, on both sides
//   asymmetric   the (100 - p) / 2-th and (100 + p) / 2-th percentiles of x; a side without values
//   ends at zero
//
// Zeros count as values, as they do for numpy.percentile and onnxruntime. A percentile is
// interpolated inside its bucket, whereas onnxruntime takes the left edge of a bin on both sides,
// which cuts the upper side by one bin more than asked.

#include <algorithm>

#include "calib/ranges/density.h"

namespace onnxtool {

Range percentile_range(const Density& density, const QuantScheme& scheme, double percentile) {
  if (scheme.symmetric) {
    const double m = density.magnitude_quantile(density.total() * (percentile / 100));
    return {-m + 0.0, m};
  }
  const double cut = density.total() * ((100 - percentile) / 200);
  return {std::min(0.0, density.quantile(cut)),
          std::max(0.0, density.quantile(density.total() - cut))};
}

}  // namespace onnxtool
