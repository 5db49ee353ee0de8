// Operators that codes pass by as the floats would.
#pragma once

#include "libopt/ir/graph.h"

namespace onnxtool {

/// Whether onnxruntime moves a DequantizeLinear of one scale from before the operator behind it,
/// and a QuantizeLinear the other way: it only moves elements of input 0, or picks the largest.
/// Source: core/optimizer/qdq_transformer/qdq_propagation.cc, with the versions listed there.
bool is_passed_by_qdq(const Node& node);
/// Whether the node is a Transpose of perm [1, 0]; without perm: `by_default`.
bool swaps_axes(const Node& node, bool by_default);
/// What the value is made of by such operators: itself where another makes it.
const Value& before_movers(const Value& value);

}  // namespace onnxtool
