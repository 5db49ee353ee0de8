// A matrix product and the sum behind it, which onnxruntime makes one Gemm of.
#pragma once

#include "libopt/ir/graph.h"

namespace onnxtool {

/// The Add that onnxruntime joins with this MatMul when it loads the model, before it looks for
/// integers: the product then runs in float, unless its addend has become integers as well. nullptr
/// where it joins none.
/// Source: onnxruntime 1.31, core/optimizer/matmul_add_fusion.cc.
Node* joined_sum(const Node& product);

}  // namespace onnxtool
