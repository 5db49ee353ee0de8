// What onnxruntime makes of products by dequantized weights when it loads a model.
//
//   y = MatMul(x, DequantizeLinear(codes, scales, zero points))
//     =>   y = MatMulNBits(x, codes, scales, zero points)      accuracy level 4: x rounded to 8
//     bits
//
// Found by comparing with the graphs that onnxruntime 1.31 saves at level extended: weights of 4
// and 8 bits with blocks along the depth, or a scale per output channel, which it takes as blocks
// of 32; MatMul and plain Gemm, of a transposed weight those with a scale per channel.
#pragma once

#include "libopt/ir/graph.h"

namespace onnxtool {

/// Puts what will run in place of what the file says, so that it is judged by that. Returns how
/// many products there are.
int put_nbits_products(Graph& graph);

}  // namespace onnxtool
