// Products by dequantized weights as the MatMulNBits that onnxruntime makes of them when it loads a
// model (libopt/target/nbits_products.h), so that reports judge what runs.
#pragma once

#include "libopt/ir/graph.h"

namespace onnxtool {

/// Puts what will run in place of what the file says, subgraphs included. Returns how many products
/// there are. Those in other types than float32 are left as they are.
int put_nbits_products(Graph& graph);

}  // namespace onnxtool
