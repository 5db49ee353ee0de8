// MaxPool-1, 8, 10, 11, 12, 22: y = max over the window; padding never wins, NaN always does.
// The second output is the position of the (first) maximum in x, with the last spatial axis
// fastest, or the first one where storage_order is 1. f16 and bf16 are compared as floats.

#include <cmath>

#include "calib/kernels/cpu/conv_loops.h"
#include "calib/kernels/cpu/float_io.h"
#include "calib/kernels/cpu/pool.h"
#include "libopt/ir/code_type.h"

namespace onnxtool {
namespace {

struct MaxPoolState final : KernelState {
  const GemmIsa* isa;
  WindowAttributes attributes;
  bool column_major = false;
};

Result<std::unique_ptr<KernelState>> prepare(const NodeView& node) {
  ONNXTOOL_TRY(require_inputs(node, {0}));
  auto state = std::make_unique<MaxPoolState>();
  state->isa = &gemm_isa();  // comparisons: every level gives the same bits
  ONNXTOOL_ASSIGN(state->attributes, window_attributes(node));
  state->column_major = node.attr_int("storage_order", 0) != 0;
  return {std::move(state)};
}

template <class T>
constexpr T kLowest = std::numeric_limits<T>::has_infinity ? -std::numeric_limits<T>::infinity()
                                                           : std::numeric_limits<T>::lowest();

/// y and, when not nullptr, indices.
template <class T>
void pool(KernelContext& ctx, const Window& w, int64_t planes, bool column_major, const T* x, T* y,
          int64_t* indices) {
  const PoolTaps taps(w);
  for_each_output(ctx, w, planes, [&](int64_t at, int64_t e, int64_t od, int64_t oh, int64_t ow) {
    const T* from = x + at * volume(w.in);
    T best = kLowest<T>;
    int64_t best_at = -1;
    taps.for_each(od, oh, ow, [&](int64_t i) {
      if (best_at >= 0 && !(from[i] > best || (from[i] != from[i] && best == best))) return;
      best = from[i];
      best_at = i;
    });
    y[e] = best;
    if (!indices) return;
    const int64_t i = std::max<int64_t>(0, best_at);
    const int64_t d = i / plane(w.in), h = i / w.in[2] % w.in[1], c = i % w.in[2];
    indices[e] = at * volume(w.in) + (column_major ? (c * w.in[1] + h) * w.in[0] + d : i);
  });
}

Status pool_rows(KernelContext& ctx, const GemmIsa& isa, const Window& w, int64_t planes,
                 const float* x, float* y) {
  const auto place = [&](int64_t at, int64_t position) {
    return y + at * volume(w.out) + position;
  };
  return for_each_window_row(
      ctx, w, planes, 1, x, 0.0f, kLowest<float>,
      [&](int64_t, const float* const* rows, int64_t n, float* out) {
        isa.max_row({rows, static_cast<int>(volume(w.kernel)), out, n});
      },
      place,
      [&](int64_t at, int64_t position, const float* values, float*) {
        if (values != place(at, position)) std::copy_n(values, w.out[2], place(at, position));
      });
}

Status run(KernelContext& ctx) {
  const auto& state = static_cast<const MaxPoolState&>(*ctx.state());
  const ConstView& x = ctx.input(0);
  ONNXTOOL_ASSIGN(const Window w,
                  resolve_window(state.attributes, x.dims, state.attributes.kernel));
  const Dims dims = w.output_dims(x.dims[0], x.dims[1]);
  const int64_t planes = x.dims[0] * x.dims[1];
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, x.dtype, dims));
  int64_t* indices = nullptr;
  if (ctx.wants_output(1)) {
    ONNXTOOL_ASSIGN(const MutableView view, ctx.output(1, DataType::kInt64, dims));
    indices = static_cast<int64_t*>(view.data);
  }
  if (y.count == 0) return {};
  if (is_8bit(x.dtype))
    return dispatch(x.dtype, TypeList<uint8_t, int8_t>{}, "the input", [&]<class T>() -> Status {
      pool<T>(ctx, w, planes, state.column_major, static_cast<const T*>(x.data),
              static_cast<T*>(y.data), indices);
      return {};
    });
  return dispatch_float(x.dtype, [&]<class T>() -> Status {
    ONNXTOOL_ASSIGN(const T* data, float_input<T>(ctx, 0, x.dtype, "input"));
    ONNXTOOL_ASSIGN(const FloatOutput<T> out, FloatOutput<T>::make(ctx, y));
    if constexpr (std::is_same_v<T, float>) {
      if (!indices) {
        ONNXTOOL_TRY(pool_rows(ctx, *state.isa, w, planes, data, out.data));
        out.store(ctx);
        return {};
      }
    }
    pool<T>(ctx, w, planes, state.column_major, data, out.data, indices);
    out.store(ctx);
    return {};
  });
}

}  // namespace

constinit const KernelInfo kMaxPool{
    .op = "MaxPool",
    .types = {DataType::kFloat, DataType::kDouble, DataType::kFloat16, DataType::kBfloat16,
              DataType::kInt8, DataType::kUint8},
    .prepare = prepare,
    .run = run};

}  // namespace onnxtool
