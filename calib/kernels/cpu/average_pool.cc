// AveragePool-1, 7, 10, 11, 19, 22: y = sum over the window / count. The count is that of the
// elements that exist or, with count_include_pad, of those within the padded input: what ceil_mode
// adds behind it never counts. LpPool-1, 2, 11, 18, 22: y = (sum over the window of |x|^p)^(1/p).
// f16 and bf16 are computed in float. Sums run over the window in order.

#include <cmath>

#include "calib/kernels/cpu/conv_loops.h"
#include "calib/kernels/cpu/float_io.h"
#include "calib/kernels/cpu/pool.h"
#include "calib/kernels/cpu/vector_math.h"

namespace onnxtool {
namespace {

struct PoolState final : KernelState {
  const GemmIsa* isa;
  WindowAttributes attributes;
  bool count_pads = false;
  float p = 2;
};

Result<std::unique_ptr<KernelState>> prepare(const NodeView& node) {
  ONNXTOOL_TRY(require_inputs(node, {0}));
  auto state = std::make_unique<PoolState>();
  state->isa = &gemm_isa();  // products with 1 are exact: every level gives the same bits
  ONNXTOOL_ASSIGN(state->attributes, window_attributes(node));
  state->count_pads = node.attr_int("count_include_pad", 0) != 0;
  state->p = node.opset() < 2 ? node.attr_float("p", 2) : static_cast<float>(node.attr_int("p", 2));
  return {std::move(state)};
}

Status average(KernelContext& ctx, const PoolState& state, const Window& w, int64_t planes,
               const float* x, float* y) {
  const PoolCounts counts(w, state.count_pads);
  const std::vector<float> ones(static_cast<size_t>(volume(w.kernel)), 1.0f);
  std::vector<float> divisors(static_cast<size_t>(volume(w.out)));
  for (int64_t i = 0; i < volume(w.out); ++i)
    divisors[static_cast<size_t>(i)] =
        static_cast<float>(counts.at(i / plane(w.out), i / w.out[2] % w.out[1], i % w.out[2]));
  const auto place = [&](int64_t at, int64_t position) {
    return y + at * volume(w.out) + position;
  };
  return for_each_window_row(
      ctx, w, planes, 1, x, 0.0f, 0.0f,
      [&](int64_t, const float* const* rows, int64_t n, float* out) {
        state.isa->depthwise_row({rows, ones.data(), static_cast<int>(ones.size()), 0, out, n});
      },
      place,
      [&](int64_t at, int64_t position, const float* values, float*) {
        vector_math().div(values, 1, &divisors[static_cast<size_t>(position)], 1,
                          place(at, position), w.out[2]);
      });
}

Status average(KernelContext& ctx, const PoolState& state, const Window& w, int64_t planes,
               const double* x, double* y) {
  const PoolCounts counts(w, state.count_pads);
  const PoolTaps taps(w);
  for_each_output(ctx, w, planes, [&](int64_t at, int64_t e, int64_t od, int64_t oh, int64_t ow) {
    double sum = 0;
    taps.for_each(od, oh, ow, [&](int64_t i) { sum += x[at * volume(w.in) + i]; });
    y[e] = sum / static_cast<double>(counts.at(od, oh, ow));
  });
  return {};
}

template <class T>
Status norm(KernelContext& ctx, const PoolState& state, const Window& w, int64_t planes, const T* x,
            T* y) {
  const PoolTaps taps(w);
  const double p = state.p;
  for_each_output(ctx, w, planes, [&](int64_t at, int64_t e, int64_t od, int64_t oh, int64_t ow) {
    double sum = 0;
    taps.for_each(od, oh, ow, [&](int64_t i) {
      const double v = std::abs(static_cast<double>(x[at * volume(w.in) + i]));
      sum += p == 2 ? v * v : p == 1 ? v : std::pow(v, p);
    });
    y[e] = static_cast<T>(p == 2 ? std::sqrt(sum) : p == 1 ? sum : std::pow(sum, 1 / p));
  });
  return {};
}

template <bool kNorm>
Status run(KernelContext& ctx) {
  const auto& state = static_cast<const PoolState&>(*ctx.state());
  const ConstView& x = ctx.input(0);
  ONNXTOOL_ASSIGN(const Window w,
                  resolve_window(state.attributes, x.dims, state.attributes.kernel));
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, x.dtype, w.output_dims(x.dims[0], x.dims[1])));
  if (y.count == 0) return {};
  return dispatch_float(x.dtype, [&]<class T>() -> Status {
    ONNXTOOL_ASSIGN(const T* data, float_input<T>(ctx, 0, x.dtype, "input"));
    ONNXTOOL_ASSIGN(const FloatOutput<T> out, FloatOutput<T>::make(ctx, y));
    const int64_t planes = x.dims[0] * x.dims[1];
    if constexpr (kNorm)
      ONNXTOOL_TRY(norm<T>(ctx, state, w, planes, data, out.data));
    else
      ONNXTOOL_TRY(average(ctx, state, w, planes, data, out.data));
    out.store(ctx);
    return {};
  });
}

}  // namespace

constinit const KernelInfo kAveragePool{
    .op = "AveragePool", .types = kFloatDataTypes, .prepare = prepare, .run = run<false>};
constinit const KernelInfo kLpPool{
    .op = "LpPool", .types = kFloatDataTypes, .prepare = prepare, .run = run<true>};

}  // namespace onnxtool
