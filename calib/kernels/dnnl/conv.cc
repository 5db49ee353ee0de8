// Conv-1, 11, 22 in float32 and, computed in that, float16; channels last:
//   y[n, m, o] = b[m] + sum over c, k of x[n, c, o * stride - pad + k * dilation] * w[m, c, k]
// with c running over the channels of the group of m,
// and com.microsoft.FusedConv-1, which adds z, then activates. That and what the plan fuses is
// applied to each sum before it is stored; a residual is added onto the buffer that holds it.

#include "calib/kernels/dnnl/bf16.h"
#include "calib/kernels/dnnl/conv_node.h"
#include "calib/kernels/dnnl/fusion.h"
#include "calib/kernels/dnnl/halves.h"
#include "calib/kernels/dnnl/kernels.h"
#include "calib/kernels/dnnl/shape_cache.h"
#include "calib/kernels/dnnl/windows.h"

namespace onnxtool {
namespace {

struct ConvState final : KernelState {
  WindowAttributes attributes;
  int64_t groups = 1;
  ConvolutionTypes types;
  bool half = false;                 // x, w and y are float16, sums are float32 and rounded once
  std::vector<int64_t> weight_dims;  // as the node has them; empty unless constant
  std::vector<float> bias;           // empty unless constant
  std::vector<PostOp> ops;           // FusedConv's own, then the plan's
  mutable WeightStore weights;       // touched under the cache's lock only
  mutable ShapeCache<ConvolutionPlan> plans;
};

// Weights [M, C / group, k...] as oneDNN sees them: groups apart, and a leading axis for 1-D.
dnnl::memory::desc original_weights(const ConvolutionProblem& p) {
  return plain_desc(p.weight_dims());
}

// What FusedConv does by itself; nullopt for an activation that is not fused here.
std::optional<std::vector<PostOp>> own_ops(const NodeView& node) {
  std::vector<PostOp> ops;
  if (node.op_type() != "FusedConv") return ops;
  if (node.has_input(3)) ops.push_back({.kind = PostOp::Kind::kAdd, .input = 3});
  const std::string_view activation = node.attr_string("activation", "");
  const std::span<const float> p = node.attr_floats("activation_params");
  const auto parameter = [&](size_t i, float fallback) { return i < p.size() ? p[i] : fallback; };
  if (activation == "Relu")
    ops.push_back({.kind = PostOp::Kind::kRelu});
  else if (activation == "Sigmoid")
    ops.push_back({.kind = PostOp::Kind::kSigmoid});
  else if (activation == "Tanh")
    ops.push_back({.kind = PostOp::Kind::kTanh});
  else if (activation == "HardSwish")
    ops.push_back({.kind = PostOp::Kind::kHardSwish});
  else if (activation == "LeakyRelu")
    ops.push_back({.kind = PostOp::Kind::kLeakyRelu, .alpha = parameter(0, 0.01f)});
  else if (activation == "HardSigmoid")
    ops.push_back({.kind = PostOp::Kind::kHardSigmoid,
                   .alpha = parameter(0, 0.2f),
                   .beta = parameter(1, 0.5f)});
  else if (activation == "Clip" && p.size() == 2 && p[0] <= p[1])
    ops.push_back({.kind = PostOp::Kind::kClip, .alpha = p[0], .beta = p[1]});
  else if (!activation.empty())
    return std::nullopt;
  // Older writers spell the parameters as attributes of their own: left to the cpu kernel.
  if (p.empty() && node.has_attribute("activation_alpha")) return std::nullopt;
  return ops;
}

bool fuses(const NodeView& node, const PostOp& op) {
  if (node.input_dtype(0) != DataType::kFloat) return op.kind == PostOp::Kind::kRelu;
  return fuses_post_op(node, op, *own_ops(node));
}

bool accepts_as(const NodeView& node, const ConvolutionTypes& types) {
  if (!own_ops(node)) return false;
  const auto attributes = window_attributes(node);
  const int64_t groups = node.attr_int("group", 1);
  // Bounded, so that products with it cannot overflow.
  if (groups < 1 || groups > (int64_t{1} << 31) || !attributes || !node.has_input(1) ||
      node.input_dtype(0) != node.input_dtype(1))
    return false;
  const DataType type = node.input_dtype(0);
  const bool half = type == DataType::kFloat16 && node.op_type() == "Conv";
  if (type != DataType::kFloat && !half) return false;
  const ConstView* w = node.constant(1);
  if (half && (!w || (node.has_input(2) && !node.constant(2)))) return false;
  if (has_nothing_to_multiply(node)) return false;
  if (!w) return attributes->kernel.size() <= 3 && node.input_dims(1).size() < 5;
  auto problem = convolution_of(*attributes, groups,
                                expected_dims(node, *attributes, groups, w->dims), w->dims);
  if (problem) problem->types = types;
  if (const ConstView* b = node.has_input(2) ? node.constant(2) : nullptr;
      b && (b->dtype != type || b->count != w->dims[0]))
    return false;
  return problem && has_fast_convolution(*problem);
}

bool accepts(const NodeView& node) { return accepts_as(node, {}); }
// Of groups few values are added up: rounding the operands would cost more than it saves.
bool accepts_bf16(const NodeView& node) {
  return node.attr_int("group", 1) == 1 && node.input_dtype(0) == DataType::kFloat &&
         node.has_input(1) && node.constant(1) && accepts_as(node, kBf16Operands);
}

Result<std::unique_ptr<KernelState>> prepare_as(const NodeView& node,
                                                const ConvolutionTypes& types) {
  auto state = std::make_unique<ConvState>();
  state->types = types;
  state->attributes = *window_attributes(node);
  state->groups = node.attr_int("group", 1);
  state->ops = *own_ops(node);
  state->ops.insert(state->ops.end(), node.post_ops().begin(), node.post_ops().end());
  state->half = node.input_dtype(0) == DataType::kFloat16;
  if (const ConstView* b = node.has_input(2) ? node.constant(2) : nullptr) {
    state->bias = floats_of(*b);
    node.drop_constant(2);
  }
  if (const ConstView* w = node.constant(1)) {
    const auto dims = expected_dims(node, state->attributes, state->groups, w->dims);
    ConvolutionProblem problem = *convolution_of(state->attributes, state->groups, dims, w->dims);
    problem.types = types;
    state->weight_dims.assign(w->dims.begin(), w->dims.end());
    const std::vector<float> widened = state->half ? floats_of(*w) : std::vector<float>();
    state->weights.set_original(original_weights(problem),
                                state->half ? static_cast<const void*>(widened.data()) : w->data);
    ONNXTOOL_ASSIGN(const auto made, state->plans.get(plan_key(dims, w->dims), [&] {
      return ConvolutionPlan::make(problem, node.has_input(2), state->ops, node.threads(),
                                   state->weights);
    }));
    state->weights.forget_original();
    node.drop_constant(1);
  }
  return {std::move(state)};
}

Result<std::unique_ptr<KernelState>> prepare(const NodeView& node) { return prepare_as(node, {}); }
Result<std::unique_ptr<KernelState>> prepare_bf16(const NodeView& node) {
  return prepare_as(node, kBf16Operands);
}

Status run(KernelContext& ctx) {
  const auto& state = static_cast<const ConvState&>(*ctx.state());
  const ConstView& x = ctx.input(0);
  const bool constant = !state.weight_dims.empty();
  const std::span<const int64_t> w_dims = constant ? state.weight_dims : ctx.input(1).dims;
  std::vector<int64_t> dims(x.dims.begin(), x.dims.end());
  if (dims.size() < 3 || w_dims.size() != dims.size() || dims[1] != w_dims[1] * state.groups)
    return kernel_error(ErrorCode::kMismatch, "input has dims " + dims_text(dims) + ", weights " +
                                                  dims_text(w_dims) + " with group " +
                                                  std::to_string(state.groups));
  const bool empty = dims[0] == 0;
  if (empty) dims[0] = 1;
  auto problem = convolution_of(state.attributes, state.groups, dims, w_dims);
  if (!problem)
    return kernel_error(ErrorCode::kMismatch, "no window of weights " + dims_text(w_dims) +
                                                  " fits into an input of dims " + dims_text(dims));
  const float* bias = state.bias.empty() ? nullptr : state.bias.data();
  if (ctx.node().has_input(2) && !bias) {
    const ConstView& b = ctx.input(2);
    if (b.count != problem->out_channels)
      return kernel_error(ErrorCode::kMismatch, "bias has dims " + dims_text(b.dims) +
                                                    ", expected [" +
                                                    std::to_string(problem->out_channels) + "]");
    bias = static_cast<const float*>(b.data);
  }
  std::vector<int64_t> out_dims{x.dims[0], problem->out_channels};
  const std::vector<int64_t> spatial = problem->spatial_out();
  out_dims.insert(out_dims.end(), spatial.end() - static_cast<int64_t>(x.dims.size() - 2),
                  spatial.end());
  float* y = nullptr;
  HalfOutput halves;
  if (state.half) {
    ONNXTOOL_ASSIGN(halves, HalfOutput::make(ctx, out_dims));
    y = halves.floats;
  } else {
    ONNXTOOL_ASSIGN(y, fused_output(ctx, state.ops, out_dims, Layout::kChannelsLast,
                                    constant ? std::initializer_list<int>{0}
                                             : std::initializer_list<int>{0, 1}));
  }
  if (empty) return {};

  problem->types = state.types;
  ONNXTOOL_ASSIGN(const auto plan, state.plans.get(plan_key(dims, w_dims), [&] {
    return ConvolutionPlan::make(*problem, bias != nullptr, state.ops, ctx.node().threads(),
                                 state.weights);
  }));
  ConvolutionOperands operands{.source = nullptr, .weights = nullptr, .bias = bias, .target = y};
  if (state.half) {
    ONNXTOOL_ASSIGN(operands.source, channels_last_halves(ctx, 0));
    ONNXTOOL_TRY(plan->run(ctx, operands));
    halves.store(ctx);
    return {};
  }
  ONNXTOOL_ASSIGN(const float* source, channels_last_input<float>(ctx, 0));
  operands.source = source;
  if (state.types.source == DnnlType::bf16) {
    ONNXTOOL_ASSIGN(operands.source, rounded_to_bf16(ctx, source, x.count));
  }
  if (!constant) {
    ONNXTOOL_ASSIGN(void* ordered, ctx.scratch(plan->weights_desc().get_size()));
    ONNXTOOL_TRY(catching([&]() -> Status {
      hold_to_one_thread();
      reorder(original_weights(*problem), ctx.input(1).data, plan->weights_desc(), ordered);
      return {};
    }));
    operands.weights = static_cast<const float*>(ordered);
  }
  return plan->run(ctx, operands);
}

// Weights come as they are; every other input may be channels last.
bool takes_layout(int input, Layout layout) {
  return input != 1 && layout == Layout::kChannelsLast;
}

}  // namespace

extern constinit const KernelInfo kConv{.op = "Conv",
                                        .types = {DataType::kFloat, DataType::kFloat16},
                                        .prepare = prepare,
                                        .run = run,
                                        .accepts = accepts,
                                        .fuses = fuses,
                                        .takes_layout = takes_layout};
extern constinit const KernelInfo kConvBf16{.op = "Conv",
                                            .types = {DataType::kFloat},
                                            .prepare = prepare_bf16,
                                            .run = run,
                                            .accepts = accepts_bf16,
                                            .fuses = fuses,
                                            .takes_layout = takes_layout};
extern constinit const KernelInfo kFusedConv{.domain = "com.microsoft",
                                             .op = "FusedConv",
                                             .types = {DataType::kFloat},
                                             .prepare = prepare,
                                             .run = run,
                                             .accepts = accepts,
                                             .fuses = fuses,
                                             .takes_layout = takes_layout};
extern constinit const KernelInfo kFusedConvBf16{.domain = "com.microsoft",
                                                 .op = "FusedConv",
                                                 .types = {DataType::kFloat},
                                                 .prepare = prepare_bf16,
                                                 .run = run,
                                                 .accepts = accepts_bf16,
                                                 .fuses = fuses,
                                                 .takes_layout = takes_layout};

}  // namespace onnxtool
