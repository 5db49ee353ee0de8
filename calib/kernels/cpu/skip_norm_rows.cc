// The rows of SkipLayerNormalization on the host. Moments accumulate in double.

#include <algorithm>
#include <cmath>

#include "calib/kernels/cpu/skip_norm.h"
#include "calib/kernels/cpu/statistics.h"

namespace onnxtool {
namespace {

template <class T>
void normalize_row(const SkipRows<T>& r, int64_t row) {
  T* added = r.sum + row * r.size;
  const T *a = r.x + row * r.size, *b = r.skip + row % r.skip_rows * r.size;
  for (int64_t i = 0; i < r.size; ++i)
    added[i] = a[i] + b[i] + (r.bias != nullptr ? r.bias[i] : T{0});
  const double n = static_cast<double>(r.size);
  const double average = r.centred ? sum_of(added, r.size) / n : 0;
  const double factor =
      1 / std::sqrt(sum_of_squares_around(added, r.size, average) / n + r.epsilon);
  if (r.mean != nullptr) r.mean[row] = static_cast<float>(average);
  if (r.inverse != nullptr) r.inverse[row] = static_cast<float>(factor);
  const T shift = static_cast<T>(average), scale = static_cast<T>(factor);
  T* out = r.y + row * r.size;
  for (int64_t i = 0; i < r.size; ++i)
    out[i] = (added[i] - shift) * scale * r.gamma[i] + (r.beta != nullptr ? r.beta[i] : T{0});
}

}  // namespace

template <class T>
Status normalize(KernelContext& ctx, const SkipRows<T>& r) {
  if (r.size == 0) {
    for (float* of_rows : {r.mean, r.inverse})
      if (of_rows != nullptr) std::fill_n(of_rows, r.rows, kOfNothing);
    return {};
  }
  ctx.parallel(r.rows, grain_of(4 * r.size), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) normalize_row(r, row);
  });
  return {};
}
template Status normalize(KernelContext&, const SkipRows<float>&);
template Status normalize(KernelContext&, const SkipRows<double>&);

}  // namespace onnxtool
