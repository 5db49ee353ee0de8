// moving-average: the extremes of each sample, averaged over samples, so that a single odd one does
// not decide.
//
//   r_1 = x_1,   r_k = r_(k-1) + c_k (x_k - r_(k-1)),   c_k = max(1/k, 0.01)
//
// which is the plain mean of the first 100 samples and forgets exponentially from then on.
// onnxruntime's is the mean of all, whatever its averaging constant says (quantize_static, 1.31).

#include <algorithm>

#include "calib/ranges/density.h"

namespace onnxtool {
namespace {

constexpr double kConstant = 0.01;  // onnxruntime's CalibMovingAverageConstant

}  // namespace

Range moving_average_range(std::span<const Extremes> samples, const QuantScheme& scheme,
                           bool plain_mean) {
  Range r;
  double k = 0;
  for (const Extremes& x : samples) {
    const double c = std::max(1 / ++k, plain_mean ? 0 : kConstant);
    r.min += c * (static_cast<double>(x.min) - r.min);
    r.max += c * (static_cast<double>(x.max) - r.max);
  }
  r = {std::min(0.0, r.min), std::max(0.0, r.max)};
  if (scheme.symmetric) {
    r.max = std::max(-r.min, r.max);
    r.min = -r.max + 0.0;
  }
  return r;
}

}  // namespace onnxtool
