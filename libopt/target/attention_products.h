// The matrix products of attention, as exporters write it out: onnxruntime makes one Attention or
// MultiHeadAttention of it, as long as all of them are in float.
//
//   Softmax(scale(Q K^T) + mask) V      Q, K, V: MatMul or Gemm of one value with constant weights,
//                                       then biases, Reshape and Transpose in any order
#pragma once

#include <array>
#include <vector>

#include "libopt/ir/graph.h"
#include "libopt/target/cost.h"

namespace onnxtool {

struct AttentionProducts {
  std::array<const Node*, 3> projections{};  // of queries, keys and values
  const Node* scores = nullptr;              // MatMul before the Softmax
  const Node* values = nullptr;              // MatMul behind it
  std::vector<const Node*> nodes() const {
    return {projections[0], projections[1], projections[2], scores, values};
  }
};

/// Attention with a mask that is no constant, whose three projections read the same value: what the
/// fusion looks for. In order of the Softmax nodes.
std::vector<AttentionProducts> find_attention_products(const Graph& graph);

/// How much longer onnxruntime's CPU provider takes where it is not fused.
double lost_attention_ns(const AttentionProducts& attention, const ShapeOf& shape_of);

}  // namespace onnxtool
