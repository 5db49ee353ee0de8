// A Gemm's operands as a plain product takes them.
//
//   Gemm(A, B, C) = alpha * A' B' + beta * C
#pragma once

#include "libopt/rewrite/rewriter.h"

namespace onnxtool {

/// A', behind a Transpose where transA asks for one. MatMul: its left operand.
Value& product_data(Rewriter& rw, const Node& product);

/// beta * C in the type of C: C itself where beta is 1, a constant where C is one of float32.
/// nullptr where there is no C, as for a MatMul.
Value* product_addend(Rewriter& rw, const Node& product);

}  // namespace onnxtool
