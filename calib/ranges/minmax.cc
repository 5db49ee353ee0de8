// minmax: everything that was observed. Nothing saturates; one outlier can cost all the resolution.

#include <algorithm>

#include "calib/ranges/density.h"

namespace onnxtool {

Range minmax_range(const Summary& summary, const QuantScheme& scheme) {
  Range r{std::min(0.0, static_cast<double>(summary.min())),
          std::max(0.0, static_cast<double>(summary.max()))};
  if (scheme.symmetric) {
    r.max = std::max(-r.min, r.max);
    r.min = -r.max + 0.0;
  }
  return r;
}

}  // namespace onnxtool
