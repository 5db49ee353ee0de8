// MatMul-1, 9, 13, Gemm-7, 9, 11, 13 and com.microsoft.FusedMatMul-1 in float32 with a constant
// right side:
//   y[.., m, n] = bias[n] + sum over k of a[.., m, k] * b[k, n]
// Gemm's alpha is multiplied into b, beta into the bias, each rounded once.

#include "calib/kernels/dnnl/bf16.h"
#include "calib/kernels/dnnl/convolution.h"
#include "calib/kernels/dnnl/fusion.h"
#include "calib/kernels/dnnl/kernels.h"
#include "calib/kernels/dnnl/rows.h"
#include "calib/kernels/dnnl/shape_cache.h"
#include "calib/kernels/dnnl/windows.h"

namespace onnxtool {
namespace {

struct ProductState final : KernelState {
  int64_t k = 0, n = 0;
  ConvolutionTypes types;
  bool vector = false;  // b has one dimension: y lacks the last one
  std::vector<float> bias;
  mutable WeightStore weights;
  mutable ShapeCache<ConvolutionPlan> plans;
};

bool is_gemm(const NodeView& node) { return node.op_type() == "Gemm"; }
bool is_fused(const NodeView& node) { return node.op_type() == "FusedMatMul"; }

// Gemm's C, or the bias that a plan adds to a MatMul, as one value per column; nullopt: not
// constant, or it varies by row.
std::optional<std::vector<float>> bias_of(const NodeView& node, int64_t n) {
  if (!node.has_input(2)) return std::vector<float>();
  const ConstView* c = node.constant(2);
  if (!c || c->dtype != DataType::kFloat || c->rank() > 2 || (c->rank() == 2 && c->dims[0] != 1))
    return std::nullopt;
  if (c->count != n && c->count != 1) return std::nullopt;
  const float beta = is_gemm(node) ? node.attr_float("beta", 1) : 1;
  std::vector<float> bias(static_cast<size_t>(n));
  for (size_t i = 0; i < bias.size(); ++i) bias[i] = beta * c->as<float>()[c->count == 1 ? 0 : i];
  return bias;
}

std::optional<ProductSides> sides_of(const NodeView& node) {
  const ConstView* b = node.has_input(1) ? node.constant(1) : nullptr;
  if (!b || b->dtype != DataType::kFloat || b->count == 0) return std::nullopt;
  const bool gemm = is_gemm(node);
  const bool fused = is_fused(node);
  if ((gemm || fused) && (b->rank() != 2 || node.attr_int("transA", 0) != 0)) return std::nullopt;
  if (fused && (node.attr_int("transBatchA", 0) != 0 || node.attr_int("transBatchB", 0) != 0))
    return std::nullopt;
  if (b->rank() == 1) return ProductSides{b->dims[0], 1, false};
  if (b->rank() != 2) return std::nullopt;
  const bool transposed = (gemm || fused) && node.attr_int("transB", 0) != 0;
  return ProductSides{b->dims[transposed ? 1 : 0], b->dims[transposed ? 0 : 1], transposed};
}

ConvolutionProblem problem_of(int64_t rows, int64_t k, int64_t n, const ConvolutionTypes& types) {
  ConvolutionProblem p = rows_problem(rows, k, n);
  p.types = types;
  return p;
}

bool accepts_as(const NodeView& node, const ConvolutionTypes& types) {
  const auto sides = sides_of(node);
  return sides && node.input_dtype(0) == DataType::kFloat && bias_of(node, sides->n) &&
         has_fast_convolution(problem_of(expected_rows(node), sides->k, sides->n, types));
}
bool fuses(const NodeView& node, const PostOp& op) { return fuses_post_op(node, op); }
bool accepts(const NodeView& node) { return accepts_as(node, {}); }
bool accepts_bf16(const NodeView& node) { return accepts_as(node, kBf16Operands); }

Result<std::unique_ptr<KernelState>> prepare_as(const NodeView& node,
                                                const ConvolutionTypes& types) {
  auto state = std::make_unique<ProductState>();
  state->types = types;
  const ProductSides sides = *sides_of(node);
  const ConstView& b = *node.constant(1);
  state->k = sides.k;
  state->n = sides.n;
  state->vector = b.rank() == 1;
  state->bias = *bias_of(node, sides.n);
  const float alpha = is_gemm(node) || is_fused(node) ? node.attr_float("alpha", 1) : 1;
  const auto* source = static_cast<const float*>(b.data);
  std::vector<float> scaled;
  if (alpha != 1) {
    scaled.assign(source, source + b.count);
    for (float& x : scaled) x *= alpha;
    source = scaled.data();
  }
  state->weights.set_original(rows_weights(sides.k, sides.n, sides.transposed, kDnnlFloat), source);
  const int64_t rows = expected_rows(node);
  ONNXTOOL_ASSIGN(const auto made, state->plans.get({rows}, [&] {
    return ConvolutionPlan::make(problem_of(rows, sides.k, sides.n, types), !state->bias.empty(),
                                 node.post_ops(), node.threads(), state->weights);
  }));
  state->weights.forget_original();
  node.drop_constant(1);
  if (!state->bias.empty()) node.drop_constant(2);
  return {std::move(state)};
}

Result<std::unique_ptr<KernelState>> prepare(const NodeView& node) { return prepare_as(node, {}); }
Result<std::unique_ptr<KernelState>> prepare_bf16(const NodeView& node) {
  return prepare_as(node, kBf16Operands);
}

Status run(KernelContext& ctx) {
  const auto& state = static_cast<const ProductState&>(*ctx.state());
  const ConstView& a = ctx.input(0);
  if (a.rank() < 1 || a.dims.back() != state.k || (is_gemm(ctx.node()) && a.rank() != 2))
    return kernel_error(ErrorCode::kMismatch, "left side has dims " + dims_text(a.dims) +
                                                  ", right side [" + std::to_string(state.k) +
                                                  ", " + std::to_string(state.n) + "]");
  std::vector<int64_t> dims(a.dims.begin(), a.dims.end());
  dims.pop_back();
  if (!state.vector) dims.push_back(state.n);
  ONNXTOOL_ASSIGN(float* y, fused_output(ctx, ctx.node().post_ops(), dims, Layout::kPlain, {0}));
  const int64_t rows = a.count / state.k;
  if (rows == 0) return {};
  ONNXTOOL_ASSIGN(const auto plan, state.plans.get({rows}, [&] {
    return ConvolutionPlan::make(problem_of(rows, state.k, state.n, state.types),
                                 !state.bias.empty(), ctx.node().post_ops(), ctx.node().threads(),
                                 state.weights);
  }));
  const void* source = a.data;
  if (state.types.source == DnnlType::bf16) {
    ONNXTOOL_ASSIGN(source, rounded_to_bf16(ctx, static_cast<const float*>(a.data), a.count));
  }
  return plan->run(ctx, {.source = source,
                         .weights = nullptr,
                         .bias = state.bias.empty() ? nullptr : state.bias.data(),
                         .target = y});
}

}  // namespace

constinit const KernelInfo kMatMul{.op = "MatMul",
                                   .types = {DataType::kFloat},
                                   .prepare = prepare,
                                   .run = run,
                                   .accepts = accepts,
                                   .fuses = fuses};
constinit const KernelInfo kMatMulBf16{.op = "MatMul",
                                       .types = {DataType::kFloat},
                                       .prepare = prepare_bf16,
                                       .run = run,
                                       .accepts = accepts_bf16,
                                       .fuses = fuses};
constinit const KernelInfo kFusedMatMul{.domain = "com.microsoft",
                                        .op = "FusedMatMul",
                                        .types = {DataType::kFloat},
                                        .prepare = prepare,
                                        .run = run,
                                        .accepts = accepts,
                                        .fuses = fuses};
constinit const KernelInfo kFusedMatMulBf16{.domain = "com.microsoft",
                                            .op = "FusedMatMul",
                                            .types = {DataType::kFloat},
                                            .prepare = prepare_bf16,
                                            .run = run,
                                            .accepts = accepts_bf16,
                                            .fuses = fuses};
constinit const KernelInfo kGemm{.op = "Gemm",
                                 .since = 7,
                                 .types = {DataType::kFloat},
                                 .prepare = prepare,
                                 .run = run,
                                 .accepts = accepts,
                                 .fuses = fuses};
constinit const KernelInfo kGemmBf16{.op = "Gemm",
                                     .since = 7,
                                     .types = {DataType::kFloat},
                                     .prepare = prepare_bf16,
                                     .run = run,
                                     .accepts = accepts_bf16,
                                     .fuses = fuses};

}  // namespace onnxtool
