// Det-11, 22: determinants of the last two axes, by elimination with partial pivoting in double.

#include <cmath>

#include "calib/kernels/cpu/convert.h"
#include "calib/kernels/cpu/float_io.h"

namespace onnxtool {
namespace {

// Destroys the n x n matrix.
double determinant(double* a, int64_t n) {
  double det = 1;
  for (int64_t k = 0; k < n; ++k) {
    int64_t pivot = k;
    for (int64_t i = k + 1; i < n; ++i)
      if (std::abs(a[i * n + k]) > std::abs(a[pivot * n + k])) pivot = i;
    if (a[pivot * n + k] == 0) return 0;
    if (pivot != k) {
      std::swap_ranges(a + k * n, a + (k + 1) * n, a + pivot * n);
      det = -det;
    }
    det *= a[k * n + k];
    for (int64_t i = k + 1; i < n; ++i) {
      const double factor = a[i * n + k] / a[k * n + k];
      for (int64_t j = k + 1; j < n; ++j) a[i * n + j] -= factor * a[k * n + j];
    }
  }
  return det;
}

Status run(KernelContext& ctx) {
  const ConstView& x = ctx.input(0);
  const size_t rank = x.dims.size();
  if (rank < 2 || x.dims[rank - 1] != x.dims[rank - 2])
    return mismatch("input has shape " + format_dims(x.dims) + ", expected square matrices");
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, x.dtype, x.dims.subspan(0, rank - 2)));
  if (y.count == 0) return {};
  const int64_t n = x.dims.back();
  ctx.parallel(y.count, grain_of(n * n * n), [&](int64_t begin, int64_t end) {
    std::vector<double> matrix(static_cast<size_t>(n * n));
    for (int64_t i = begin; i < end; ++i) {
      convert_elements(x.dtype,
                       static_cast<const std::byte*>(x.data) + i * n * n * (bits_of(x.dtype) / 8),
                       DataType::kDouble, matrix.data(), 0, n * n);
      const double det = determinant(matrix.data(), n);
      convert_elements(DataType::kDouble, &det, x.dtype,
                       static_cast<std::byte*>(y.data) + i * (bits_of(x.dtype) / 8), 0, 1);
    }
  });
  return {};
}

}  // namespace

constinit const KernelInfo kDet{
    .op = "Det", .types = kFloatDataTypes, .prepare = needs_inputs<1>, .run = run};

}  // namespace onnxtool
