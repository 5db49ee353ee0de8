// GlobalAveragePool, GlobalMaxPool-1, 22 and GlobalLpPool-1, 2, 22: one value for each [n, c] of
// x [N, C, spatial...], y [N, C, 1...]. Sums are double, in the order of memory; one task owns a
// plane.

#include <cmath>

#include "calib/kernels/cpu/float_io.h"
#include "calib/kernels/cpu/statistics.h"

namespace onnxtool {
namespace {

enum class Kind : uint8_t { kAverage, kMax, kNorm };

template <class T>
T average(const T* x, int64_t n) {
  return static_cast<T>(sum_of(x, n) / static_cast<double>(n));
}

template <class T>
T maximum(const T* x, int64_t n) {
  T best = -std::numeric_limits<T>::infinity();
  for (int64_t i = 0; i < n; ++i)
    if (x[i] > best || x[i] != x[i])
      best = x[i];
    else if (best != best)
      break;
  return best;
}

template <class T>
T norm(const T* x, int64_t n, double p) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double v = std::abs(static_cast<double>(x[i]));
    sum += p == 2 ? v * v : p == 1 ? v : std::pow(v, p);
  }
  return static_cast<T>(p == 2 ? std::sqrt(sum) : p == 1 ? sum : std::pow(sum, 1 / p));
}

template <Kind kKind>
Status run(KernelContext& ctx) {
  ONNXTOOL_TRY(require_inputs(ctx.node(), {0}));
  const ConstView& x = ctx.input(0);
  if (x.rank() < 2)
    return bad_model("the input has shape " + format_dims(x.dims) +
                     ", expected [N, C, spatial...]");
  Dims dims = to_dims(x.dims);
  std::fill(dims.begin() + 2, dims.end(), 1);
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, x.dtype, dims));
  const int64_t n = product(x.dims, 2, x.dims.size());
  const double p = ctx.node().opset() < 2 ? static_cast<double>(ctx.node().attr_float("p", 2))
                                          : static_cast<double>(ctx.node().attr_int("p", 2));
  return dispatch_float(x.dtype, [&]<class T>() -> Status {
    ONNXTOOL_ASSIGN(const T* data, float_input<T>(ctx, 0, x.dtype, "input"));
    ONNXTOOL_ASSIGN(const FloatOutput<T> out, FloatOutput<T>::make(ctx, y));
    ctx.parallel(y.count, grain_of(n), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        if constexpr (kKind == Kind::kAverage)
          out.data[i] = average(data + i * n, n);
        else if constexpr (kKind == Kind::kMax)
          out.data[i] = maximum(data + i * n, n);
        else
          out.data[i] = norm(data + i * n, n, p);
      }
    });
    out.store(ctx);
    return {};
  });
}

}  // namespace

constinit const KernelInfo kGlobalAveragePool{
    .op = "GlobalAveragePool", .types = kFloatDataTypes, .run = run<Kind::kAverage>};
constinit const KernelInfo kGlobalMaxPool{
    .op = "GlobalMaxPool", .types = kFloatDataTypes, .run = run<Kind::kMax>};
constinit const KernelInfo kGlobalLpPool{
    .op = "GlobalLpPool", .types = kFloatDataTypes, .run = run<Kind::kNorm>};

}  // namespace onnxtool
