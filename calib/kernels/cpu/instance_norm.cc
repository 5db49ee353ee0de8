// InstanceNormalization-1, 6, 22: y = scale[c] * (x - mean) / sqrt(var + epsilon) + b[c] with mean
// and variance of each [n, c] over the spatial axes, in double. f16 and bf16 are computed in float.

#include <cmath>

#include "calib/kernels/cpu/float_io.h"
#include "calib/kernels/cpu/gemm_kernel.h"
#include "calib/kernels/cpu/statistics.h"

namespace onnxtool {
namespace {

template <class T>
Status compute(KernelContext& ctx, const MutableView& y) {
  const ConstView& x = ctx.input(0);
  ONNXTOOL_ASSIGN(const T* data, float_input<T>(ctx, 0, x.dtype, "input"));
  ONNXTOOL_ASSIGN(const T* scale, float_input<T>(ctx, 1, x.dtype, "scale"));
  ONNXTOOL_ASSIGN(const T* bias, float_input<T>(ctx, 2, x.dtype, "bias"));
  ONNXTOOL_ASSIGN(const FloatOutput<T> out, FloatOutput<T>::make(ctx, y));
  const double epsilon = static_cast<double>(ctx.node().attr_float("epsilon", 1e-5f));
  const int64_t channels = x.dims[1], n = product(x.dims, 2, x.dims.size());
  ctx.parallel(x.dims[0] * channels, grain_of(n), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const T* from = data + i * n;
      T* to = out.data + i * n;
      const double mean = sum_of(from, n) / static_cast<double>(n);
      const double var = sum_of_squares_around(from, n, mean) / static_cast<double>(n);
      const double factor = static_cast<double>(scale[i % channels]) / std::sqrt(var + epsilon);
      if constexpr (std::is_same_v<T, float>)
        gemm_isa().normalize_row({from, static_cast<float>(mean), static_cast<float>(factor),
                                  bias[i % channels], to, n});
      else
        for (int64_t j = 0; j < n; ++j) to[j] = (from[j] - mean) * factor + bias[i % channels];
    }
  });
  out.store(ctx);
  return {};
}

Status run(KernelContext& ctx) {
  ONNXTOOL_TRY(require_inputs(ctx.node(), {0, 1, 2}));
  const ConstView& x = ctx.input(0);
  if (x.rank() < 2)
    return bad_model("the input has shape " + format_dims(x.dims) +
                     ", expected [N, C, spatial...]");
  for (int i : {1, 2})
    if (ctx.input(i).count != x.dims[1])
      return mismatch(std::string(i == 1 ? "scale" : "bias") + " has shape " +
                      format_dims(ctx.input(i).dims) + ", expected [" + std::to_string(x.dims[1]) +
                      "]");
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, x.dtype, x.dims));
  if (y.count == 0) return {};
  return dispatch_float(x.dtype, [&]<class T>() { return compute<T>(ctx, y); });
}

}  // namespace

constinit const KernelInfo kInstanceNormalization{
    .op = "InstanceNormalization", .types = kFloatDataTypes, .run = run};

}  // namespace onnxtool
