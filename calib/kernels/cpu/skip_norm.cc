// com.microsoft.SkipLayerNormalization-1 and SkipSimplifiedLayerNormalization-1:
//   sum = input + skip + bias;  y = (sum - mean) / sqrt(variance + epsilon) * gamma + beta
// over the last axis; the simplified form takes the mean as 0 and has no beta. skip may be a single
// sample, or lack the batch axis. Moments accumulate in double.

#include "calib/kernels/cpu/skip_norm.h"

#include <algorithm>

#include "calib/kernels/cpu/float_io.h"

namespace onnxtool {
namespace {

enum Output : int { kResult, kMean, kInverse, kSum };

struct SkipInputs {
  int beta, bias;  // -1: not an input of this operator
};

// A vector over the last axis, or nullptr.
template <class T>
Result<const T*> vector_input(KernelContext& ctx, int i, int64_t size, std::string_view what) {
  if (i < 0 || !ctx.has_input(i)) return static_cast<const T*>(nullptr);
  const ConstView& view = ctx.input(i);
  if (view.rank() != 1 || view.count != size)
    return mismatch(std::string(what) + " has shape " + format_dims(view.dims) + ", expected [" +
                    std::to_string(size) + "]");
  return float_input<T>(ctx, i, ctx.input(0).dtype, what);
}

Status check_skip(const ConstView& x, const ConstView& skip) {
  std::span<const int64_t> dims = skip.dims;
  bool fits = skip.rank() >= 1 && skip.rank() <= x.rank() && skip.rank() + 1 >= x.rank();
  if (fits && dims.size() == x.dims.size() && dims.size() == 3 && dims[0] == 1)
    dims = dims.subspan(1);
  if (fits) fits = std::ranges::equal(dims, x.dims.subspan(x.dims.size() - dims.size()));
  if (fits) return {};
  return mismatch("skip has shape " + format_dims(skip.dims) + ", which does not fit an input of " +
                  format_dims(x.dims));
}

// Output `i` of one float per row, where it is wanted.
Result<float*> statistic(KernelContext& ctx, int i) {
  if (!ctx.wants_output(i)) return static_cast<float*>(nullptr);
  Dims dims = to_dims(ctx.input(0).dims);
  dims.back() = 1;
  ONNXTOOL_ASSIGN(const MutableView view, ctx.output(i, DataType::kFloat, dims));
  return static_cast<float*>(view.data);
}

template <class T>
Status compute(KernelContext& ctx, const SkipInputs& in, bool centred) {
  const ConstView& x = ctx.input(0);
  const DataType type = x.dtype;
  SkipRows<T> rows{};
  rows.size = x.dims.back();
  rows.rows = product(x.dims, 0, x.dims.size() - 1);
  rows.skip_rows = product(ctx.input(1).dims, 0, ctx.input(1).dims.size() - 1);
  rows.centred = centred;
  rows.epsilon = ctx.node().attr_float("epsilon", 1e-12f);
  ONNXTOOL_ASSIGN(rows.x, float_input<T>(ctx, 0, type, "input"));
  ONNXTOOL_ASSIGN(rows.skip, float_input<T>(ctx, 1, type, "skip"));
  ONNXTOOL_ASSIGN(rows.gamma, vector_input<T>(ctx, 2, rows.size, "gamma"));
  ONNXTOOL_ASSIGN(rows.beta, vector_input<T>(ctx, in.beta, rows.size, "beta"));
  ONNXTOOL_ASSIGN(rows.bias, vector_input<T>(ctx, in.bias, rows.size, "bias"));
  ONNXTOOL_ASSIGN(const WideOutput y, WideOutput::make(ctx, kResult, type, x.dims));
  ONNXTOOL_ASSIGN(rows.mean, statistic(ctx, kMean));
  ONNXTOOL_ASSIGN(rows.inverse, statistic(ctx, kInverse));
  rows.y = y.data<T>();
  if (ctx.wants_output(kSum)) {
    ONNXTOOL_ASSIGN(const WideOutput sum, WideOutput::make(ctx, kSum, type, x.dims));
    rows.sum = sum.data<T>();
    ONNXTOOL_TRY(normalize(ctx, rows));
    sum.finish(ctx);
  } else {
    ONNXTOOL_ASSIGN(void* buffer, ctx.scratch(static_cast<size_t>(x.count) * sizeof(T)));
    rows.sum = static_cast<T*>(buffer);
    ONNXTOOL_TRY(normalize(ctx, rows));
  }
  y.finish(ctx);
  return {};
}

Status run(KernelContext& ctx, const SkipInputs& in, bool centred) {
  ONNXTOOL_TRY(check_skip(ctx.input(0), ctx.input(1)));
  return dispatch_float(ctx.input(0).dtype,
                        [&]<class T>() -> Status { return compute<T>(ctx, in, centred); });
}

Status run_full(KernelContext& ctx) { return run(ctx, {.beta = 3, .bias = 4}, true); }
Status run_simplified(KernelContext& ctx) { return run(ctx, {.beta = -1, .bias = 3}, false); }

}  // namespace

constinit const KernelInfo kSkipLayerNormalization{.domain = "com.microsoft",
                                                   .op = "SkipLayerNormalization",
                                                   .types = kFloatDataTypes,
                                                   .prepare = needs_inputs<3>,
                                                   .run = run_full};
constinit const KernelInfo kSkipSimplifiedLayerNormalization{
    .domain = "com.microsoft",
    .op = "SkipSimplifiedLayerNormalization",
    .types = kFloatDataTypes,
    .prepare = needs_inputs<3>,
    .run = run_simplified};

}  // namespace onnxtool
