// QLinearConv-10, channels last, where weights, scales and zero points are constant:
//   y = saturate(round_half_even(sum * (x_scale * w_scale[m] / y_scale)) + y_zero_point)
// with exact sums of (x - x_zero_point) * w and the bias in int32, which wraps, and the product in
// float: the bits of the cpu kernel. Padding counts as x_zero_point. Weights are codes of 8 bits,
// unsigned ones counted from 128; what is left of their zero points is taken off the sums, which
// groups do not have.

#include "calib/kernels/dnnl/conv_node.h"
#include "calib/kernels/dnnl/exact_sums.h"
#include "calib/kernels/dnnl/fusion.h"
#include "calib/kernels/dnnl/kernels.h"
#include "calib/kernels/dnnl/pointwise_int8.h"
#include "calib/kernels/dnnl/requantize.h"
#include "calib/kernels/dnnl/shape_cache.h"
#include "calib/kernels/dnnl/window_sums.h"
#include "libopt/ir/code_type.h"

namespace onnxtool {
namespace {

enum Input { kX, kXScale, kXZero, kW, kWScale, kWZero, kYScale, kYZero, kBias };

struct QLinearConvState final : KernelState {
  WindowAttributes attributes;
  int64_t groups = 1;
  ConvolutionTypes types;
  std::vector<int64_t> weight_dims;
  std::vector<int8_t> codes;       // the weights: orders with zero points cannot be made of others
  std::vector<float> multipliers;  // [M]
  std::vector<int32_t> bias;       // [M], 0 where there is none
  std::vector<int32_t> weight_zeros;  // [M]; empty: all are 0
  int32_t y_zero_point = 0;
  DataType y_type = DataType::kUint8;
  std::optional<PointwiseInt8> pointwise;  // then there are no plans
  mutable WeightStore weights;             // touched under the cache's lock only
  mutable ShapeCache<ConvolutionPlan> plans;
};

// 1 or M floats.
bool is_scale(const ConstView* v, int64_t outputs) {
  return v && v->dtype == DataType::kFloat && (v->count == 1 || v->count == outputs);
}

// What the codes of the weights are counted from, so that they are signed.
int32_t shift_of(const ConstView& w) { return w.dtype == DataType::kUint8 ? 128 : 0; }

bool are_zero_points(const ConstView& zeros, const ConstView& w, int64_t groups) {
  if (zeros.dtype != w.dtype || (zeros.count != 1 && zeros.count != w.dims[0])) return false;
  for (int64_t i = 0; groups > 1 && i < zeros.count; ++i)
    if (code_at(zeros, i) != shift_of(w)) return false;
  return true;
}

ConvolutionTypes types_of(const NodeView& node) {
  return {.source = node.input_dtype(kX) == DataType::kInt8 ? DnnlType::s8 : DnnlType::u8,
          .weights = DnnlType::s8,
          .target = DnnlType::s32,
          .source_zero_point = code_at(*node.constant(kXZero), 0)};
}

bool accepts(const NodeView& node) {
  if (!has_exact_int8() || !is_8bit(node.input_dtype(kX))) return false;
  if (has_nothing_to_multiply(node, kW)) return false;
  for (int i : {kXScale, kXZero, kW, kWScale, kWZero, kYScale, kYZero})
    if (!node.has_input(i) || !node.constant(i)) return false;
  const ConstView& w = *node.constant(kW);
  const ConstView &x_zero = *node.constant(kXZero), &y_zero = *node.constant(kYZero);
  const int64_t groups = node.attr_int("group", 1);
  if (!is_8bit(w.dtype) || w.rank() < 3 || w.rank() > 5 ||
      !are_zero_points(*node.constant(kWZero), w, groups) || x_zero.dtype != node.input_dtype(kX) ||
      x_zero.count != 1 || !is_8bit(y_zero.dtype) || y_zero.count != 1)
    return false;
  const int64_t outputs = w.dims[0];
  if (!is_scale(node.constant(kWScale), outputs) || !is_scale(node.constant(kXScale), 1) ||
      !is_scale(node.constant(kYScale), 1))
    return false;
  if (node.has_input(kBias)) {
    const ConstView* bias = node.constant(kBias);
    if (!bias || bias->dtype != DataType::kInt32 || bias->count != outputs) return false;
  }
  const auto attributes = window_attributes(node);
  // Bounded, so that products with it cannot overflow.
  if (!attributes || groups < 1 || groups > (int64_t{1} << 31)) return false;
  auto problem =
      convolution_of(*attributes, groups, expected_dims(node, *attributes, groups, w.dims), w.dims);
  if (!problem) return false;
  problem->types = types_of(node);
  const bool compensated =
      problem->types.source == DnnlType::s8 || problem->types.source_zero_point != 0;
  if (compensated && !sums_fit_float(w, outputs, false)) return false;
  return has_fast_convolution(*problem);
}

ConvolutionProblem with_types(ConvolutionProblem problem, const ConvolutionTypes& types) {
  problem.types = types;
  return problem;
}

Result<std::shared_ptr<const ConvolutionPlan>> plan_for(const QLinearConvState& state,
                                                        ConvolutionProblem problem,
                                                        std::span<const int64_t> x, int threads) {
  problem.types = state.types;
  return state.plans.get(plan_key(x, state.weight_dims), [&] {
    return ConvolutionPlan::make(problem, false, {}, threads, state.weights);
  });
}

Result<std::unique_ptr<KernelState>> prepare(const NodeView& node) {
  auto state = std::make_unique<QLinearConvState>();
  state->attributes = *window_attributes(node);
  state->groups = node.attr_int("group", 1);
  state->types = types_of(node);
  const ConstView &w = *node.constant(kW), &scales = *node.constant(kWScale);
  const auto outputs = static_cast<size_t>(w.dims[0]);
  state->weight_dims.assign(w.dims.begin(), w.dims.end());
  for (int64_t i = 0; i < w.count; ++i)
    state->codes.push_back(static_cast<int8_t>(code_at(w, i) - shift_of(w)));
  const ConstView& zeros = *node.constant(kWZero);
  for (int64_t m = 0; m < w.dims[0]; ++m)
    state->weight_zeros.push_back(code_at(zeros, zeros.count == 1 ? 0 : m) - shift_of(w));
  if (std::ranges::count(state->weight_zeros, 0) == w.dims[0]) state->weight_zeros.clear();
  const float x_scale = node.constant(kXScale)->as<float>()[0],
              y_scale = node.constant(kYScale)->as<float>()[0];
  for (size_t m = 0; m < outputs; ++m)
    state->multipliers.push_back(x_scale * scales.as<float>()[scales.count == 1 ? 0 : m] / y_scale);
  state->bias.assign(outputs, 0);
  if (node.has_input(kBias)) {
    const auto bias = node.constant(kBias)->as<int32_t>();
    state->bias.assign(bias.begin(), bias.end());
  }
  state->y_type = node.constant(kYZero)->dtype;
  state->y_zero_point = code_at(*node.constant(kYZero), 0);

  const auto dims = expected_dims(node, state->attributes, state->groups, w.dims);
  const ConvolutionProblem problem =
      *convolution_of(state->attributes, state->groups, dims, w.dims);
  if (state->weight_zeros.empty() && PointwiseInt8::serves(with_types(problem, state->types))) {
    state->pointwise.emplace(state->codes, problem.in_channels, state->types.source_zero_point,
                             state->bias);
  } else {
    state->weights.set_original(plain_desc(problem.weight_dims(), DnnlType::s8),
                                state->codes.data());
    ONNXTOOL_ASSIGN(const auto made, plan_for(*state, problem, dims, node.threads()));
  }
  for (int i = kXScale; i <= kBias; ++i)
    if (node.has_input(i)) node.drop_constant(i);
  return {std::move(state)};
}

Status run(KernelContext& ctx) {
  const auto& state = static_cast<const QLinearConvState&>(*ctx.state());
  const ConstView& x = ctx.input(kX);
  std::vector<int64_t> dims(x.dims.begin(), x.dims.end());
  const bool empty = !dims.empty() && dims[0] == 0;
  if (empty) dims[0] = 1;
  const auto problem = convolution_of(state.attributes, state.groups, dims, state.weight_dims);
  if (!problem)
    return kernel_error(ErrorCode::kMismatch,
                        "no window of weights " + dims_text(state.weight_dims) + " with group " +
                            std::to_string(state.groups) + " fits into an input of dims " +
                            dims_text(x.dims));
  std::vector<int64_t> out_dims{x.dims[0], problem->out_channels};
  const std::vector<int64_t> spatial = problem->spatial_out();
  out_dims.insert(out_dims.end(), spatial.end() - (x.rank() - 2), spatial.end());
  const Layout layout = is_same_in_both_layouts(out_dims) ? Layout::kPlain : Layout::kChannelsLast;
  ONNXTOOL_ASSIGN(const MutableView out, ctx.output(0, state.y_type, out_dims, layout));
  if (empty) return {};
  ONNXTOOL_ASSIGN(const uint8_t* source, channels_last_input<uint8_t>(ctx, kX));
  const bool is_signed = state.y_type == DataType::kInt8;
  auto* y = static_cast<uint8_t*>(out.data);
  const int64_t line = problem->out_channels;
  const auto requantization = [&](const IndexRange& channels) {
    return Requantization{.multipliers = state.multipliers.data() + channels.first,
                          .bias = state.bias.data() + channels.first,
                          .channels = channels.count,
                          .zero_point = state.y_zero_point,
                          .low = is_signed ? -128 : 0,
                          .high = is_signed ? 127 : 255};
  };
  if (state.pointwise) {
    const int64_t inputs = problem->in_channels;
    const Requantization r = requantization({0, line});
    ctx.parallel(x.count / inputs, std::max<int64_t>(65536 / line, 8),
                 [&](int64_t begin, int64_t end) {
                   state.pointwise->run(source + begin * inputs, end - begin, r, y + begin * line);
                 });
    return {};
  }
  ONNXTOOL_ASSIGN(const auto plan, plan_for(state, *problem, dims, ctx.node().threads()));
  const int32_t* window = nullptr;
  if (!state.weight_zeros.empty()) {
    ONNXTOOL_ASSIGN(window, window_sums(ctx, *problem, source, x.dtype == DataType::kInt8,
                                        state.types.source_zero_point));
  }
  ConvolutionOperands operands{};
  operands.source = source;
  return plan->run(ctx, operands,
                   [&](const int32_t* sums, const IndexRange& pixels, const IndexRange& channels) {
                     Requantization r = requantization(channels);
                     if (window) {
                       r.line_sums = window + pixels.first;
                       r.weight_zeros = state.weight_zeros.data() + channels.first;
                     }
                     requantize(sums, pixels.count, r, y + pixels.first * line + channels.first,
                                line);
                   });
}

}  // namespace

constinit const KernelInfo kQLinearConv{.op = "QLinearConv",
                                        .since = 10,
                                        .types = {DataType::kUint8, DataType::kInt8},
                                        .prepare = prepare,
                                        .run = run,
                                        .accepts = accepts,
                                        .takes_layout = [](int input, Layout layout) {
                                          return input == kX && layout == Layout::kChannelsLast;
                                        }};

}  // namespace onnxtool
