// Gemm and MatMul.
#include "quant/ops/handler.h"

namespace onnxtool {
namespace {

const char* gemm_obstacle(const Node& node) {
  const Tensor* b = node.input(1).constant();
  if (!b)
    return node.input(1).is_graph_input() ? "the weight is a graph input that callers may override"
                                          : "the weight is not constant";
  if (b->dtype() != DataType::kFloat || b->rank() != 2) return "the weight is no float32 matrix";
  if (node.input(0).constant()) return "the left operand is constant";
  if (!node.has_input(2)) return nullptr;
  const Tensor* c = node.input(2).constant();
  if (!c) return "the bias is not constant";
  // C: [N], or [1, N], or one element for all.
  const int64_t n = b->dims()[node.attr<int64_t>("transB", 0) ? 0 : 1];
  const bool row = c->count() == n && (c->rank() == 1 || (c->rank() == 2 && c->dims()[0] == 1));
  if (!row && c->count() != 1) return "the bias is no row";
  return nullptr;
}

// B: [K, N], or [N, K] with transB.
std::optional<int64_t> gemm_axis(const Node& node) {
  return node.attr<int64_t>("transB", 0) ? 0 : 1;
}

const char* matmul_obstacle(const Node& node) {
  if (node.input(0).constant()) return "the left operand is constant";
  for (int i = 0; i < 2; ++i) {
    const auto rank = node.input(i).type().rank();
    if (rank && *rank < 2) return "an operand is a vector";
  }
  const Tensor* b = node.input(1).constant();
  if (!b && node.input(1).initializer())
    return "the weight is a graph input that callers may override";
  if (b && b->dtype() != DataType::kFloat) return "the weight is not float32";
  return nullptr;
}

// B: [K, N]. With leading dims the kernels take one scale for all.
std::optional<int64_t> matmul_axis(const Node& node) {
  const Tensor* b = node.input(1).constant();
  if (!b || b->rank() != 2) return std::nullopt;
  return 1;
}

}  // namespace

constinit const OpHandler kGemmHandler{.op = "Gemm",
                                       .role = Role::kCore,
                                       .weight_input = 1,
                                       .bias_input = 2,
                                       .channel_axis = gemm_axis,
                                       .obstacle = gemm_obstacle};
constinit const OpHandler kMatMulHandler{.op = "MatMul",
                                         .role = Role::kCore,
                                         .all_inputs = true,
                                         .weight_input = 1,
                                         .channel_axis = matmul_axis,
                                         .obstacle = matmul_obstacle};

}  // namespace onnxtool
