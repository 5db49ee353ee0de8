#include "libopt/target/nbits_products.h"
#include "libopt/analysis/qdq_movers.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "libopt/analysis/qdq_movers.h"
#include "libopt/target/joined_sum.h"

namespace onnxtool {
namespace {

// onnxruntime's session.qdq_matmulnbits_block_size, as it is without a word.
constexpr int64_t kBlockWithoutBlocks = 32;
constexpr int64_t kLeastBlock = 16, kLargestBlock = 256;
// Constants of so many elements that say the same become one before anybody looks for products.
constexpr int64_t kMerged = 8;
constexpr float kTolerance = 1e-6f;  // of Gemm's factors
constexpr int kTurned = 21;          // codes of a DequantizeLinear are turned from this opset on

const Node* dequantize_before(const Node& n, int input) {
  const Node* p = n.has_input(input) ? n.input(input).producer() : nullptr;
  const bool reads = p && &p->graph() == &n.graph() && p->op_type() == "DequantizeLinear" &&
                     p->has_input(0) && p->has_input(1);
  return reads ? p : nullptr;
}

// A Q makes it part of what may become an integer operator, even where none comes of it. So does a
// Relu or Clip, whatever reads it, if that is all that there is.
bool is_left_to_integers(const Value& result, bool with_activation) {
  for (const Use& u : result.uses())
    if (u.index == 0 && u.user->op_type() == "QuantizeLinear" &&
        &u.user->graph() == &result.graph())
      return true;
  if (!with_activation || result.uses().size() != 1) return false;
  const Node& next = *result.uses()[0].user;
  return (next.is("Relu") || next.is("Clip")) && &next.graph() == &result.graph() &&
         next.has_output(0) && next.output(0).uses().size() == 1 &&
         !next.output(0).is_graph_output();
}

// [columns], known.
bool is_vector(const Value& v, int64_t columns) {
  if (const Tensor* t = v.constant()) return t->rank() == 1 && t->dims()[0] == columns;
  const auto& shape = v.type().shape;
  return shape && shape->size() == 1 && shape->at(0).value == columns;
}

bool is_plain_gemm(const Node& n, int64_t columns) {
  const auto is_one = [&](const char* factor) {
    return std::abs(n.attr<float>(factor, 1) - 1) <= kTolerance;
  };
  if (!is_one("alpha") || n.attr<int64_t>("transA", 0) || n.attr<int64_t>("transB", 0))
    return false;
  return !n.has_input(2) || (is_one("beta") && is_vector(n.input(2), columns));
}

// Read by this node alone, and by no other that reads a constant which says the same.
bool is_its_own(const Value& scales) {
  if (scales.uses().size() != 1) return false;
  const Tensor& t = *scales.constant();
  if (t.count() > kMerged) return true;
  return std::ranges::none_of(scales.graph().initializers(), [&](const Value* v) {
    return v != &scales && !v->uses().empty() && v->constant() && v->constant()->same_content(t);
  });
}

// How scales lie; nullopt where no MatMulNBits has such.
std::optional<PackedProduct> blocks_of(const Node& dq, bool transposed) {
  const Tensor &codes = *dq.input(0).constant(), &scales = *dq.input(1).constant();
  PackedProduct p{&dq, transposed};
  p.depth = codes.dims()[transposed ? 1 : 0];
  p.columns = codes.dims()[transposed ? 0 : 1];
  p.bits = static_cast<int>(bits_of(codes.dtype()));
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  if (p.depth < 1 || p.columns < 1 || p.depth > kMost || p.columns > kMost) return std::nullopt;
  const int64_t axis = dq.attr<int64_t>("axis", 1), block = dq.attr<int64_t>("block_size", 0);
  // An axis that counts from the end is taken only behind what has turned the weight.
  const bool along_columns = transposed ? axis == 0 || axis == -2 : axis == 1;
  if (block > 0) {
    if (transposed || axis != 0 || block < kLeastBlock || block > kLargestBlock ||
        (block & (block - 1)) != 0)
      return std::nullopt;
    p.block = block;
    if (scales.dims() != std::vector<int64_t>{p.blocks(), p.columns}) return std::nullopt;
    p.by_column = 1;
    p.by_block = p.columns;
    return p;
  }
  p.block = kBlockWithoutBlocks;
  if (scales.rank() == 0) return p;
  if (!along_columns || scales.dims() != std::vector<int64_t>{p.columns}) return std::nullopt;
  p.by_column = 1;
  return p;
}

}  // namespace

std::optional<PackedProduct> packed_product(const Node& n) {
  const bool gemm = n.is("Gemm");
  if ((!gemm && !n.is("MatMul")) || !n.has_input(0) || !n.has_input(1) || !n.has_output(0) ||
      dequantize_before(n, 0))
    return std::nullopt;
  const Node* turn = n.input(1).producer();
  const bool transposed = turn && turn->is("Transpose") && &turn->graph() == &n.graph();
  const Node* dq = dequantize_before(transposed ? *turn : n, transposed ? 0 : 1);
  // Transposes become part of a Gemm first.
  if (!dq || !dq->output(0).has_one_use() ||
      (transposed && (gemm || dq->opset() < kTurned || !turn->output(0).has_one_use())))
    return std::nullopt;

  const Tensor *codes = dq->input(0).constant(), *scales = dq->input(1).constant();
  if (!codes || !scales || codes->rank() != 2 || &dq->input(0).graph() != &n.graph() ||
      &dq->input(1).graph() != &n.graph() || !is_its_own(dq->input(1)))
    return std::nullopt;
  switch (codes->dtype()) {
    case DataType::kInt2:
    case DataType::kUint2:
    case DataType::kInt4:
    case DataType::kUint4:
      if (transposed) return std::nullopt;
      break;
    case DataType::kInt8:
    case DataType::kUint8: break;
    default: return std::nullopt;
  }
  // Turned codes are others than those that somebody else reads.
  if (!transposed && dq->input(0).uses().size() != 1) return std::nullopt;
  // Where no axes are named, only with a scalar scale.
  if (transposed && !swaps_axes(*turn, scales->rank() == 0)) return std::nullopt;
  if (scales->dtype() != DataType::kFloat && scales->dtype() != DataType::kFloat16)
    return std::nullopt;
  if (dq->num_inputs() > 2) {
    const Tensor* zeros = dq->has_input(2) ? dq->input(2).constant() : nullptr;
    if (!zeros || zeros->dims() != scales->dims() || zeros->dtype() != codes->dtype())
      return std::nullopt;
  }
  const std::optional<PackedProduct> p = blocks_of(*dq, transposed);
  if (!p || (gemm && !is_plain_gemm(n, p->columns))) return std::nullopt;

  const Node* sum = joined_sum(n);
  if (sum && !is_vector(sum->input(1 - n.output(0).uses()[0].index), p->columns))
    return std::nullopt;
  // Of other ranks there is a Reshape behind the sum.
  const bool next = !sum || n.input(0).type().rank() == 2;
  if (is_left_to_integers((sum ? *sum : n).output(0), next)) return std::nullopt;
  return p;
}

}  // namespace onnxtool
