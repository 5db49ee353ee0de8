#include "calib/kernels/dnnl/normalize.h"

#include "calib/kernels/dnnl/multiversion.h"

namespace onnxtool {

ONNXTOOL_MULTIVERSION void normalize_line(const float* x, const float* mean, const float* k,
                                          const float* b, bool relu, int64_t n, float* y) {
  if (relu)
    for (int64_t i = 0; i < n; ++i) {
      const float v = (x[i] - mean[i]) * k[i] + b[i];
      y[i] = v < 0 ? 0 : v;
    }
  else
    for (int64_t i = 0; i < n; ++i) y[i] = (x[i] - mean[i]) * k[i] + b[i];
}

ONNXTOOL_MULTIVERSION void normalize_plane(const float* x, float mean, float k, float b, bool relu,
                                           int64_t n, float* y) {
  if (relu)
    for (int64_t i = 0; i < n; ++i) {
      const float v = (x[i] - mean) * k + b;
      y[i] = v < 0 ? 0 : v;
    }
  else
    for (int64_t i = 0; i < n; ++i) y[i] = (x[i] - mean) * k + b;
}

}  // namespace onnxtool
