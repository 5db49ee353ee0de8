// A head that is tied to an embedding: one copy of the codes for both.
#pragma once

#include "libopt/ir/graph.h"

namespace onnxtool {

/// Where rows of a table are gathered as s8 codes with a scale each, and a product has the same
/// matrix, transposed, as codes of its own with a scale for each column:
///
///   y = MatMul(x, DequantizeLinear(W', s))   =>
///   y = MatMul(x, Transpose(DequantizeLinear(codes, scales of the rows)))
///
/// onnxruntime (1.31) takes the Transpose into the codes when it loads the model, and runs the same
/// integer product. The two count as the same matrix where their values are no further apart than
/// both roundings together. Returns how many products there are.
int share_tied_codes(Graph& graph);

}  // namespace onnxtool
