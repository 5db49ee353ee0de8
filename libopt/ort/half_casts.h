// float16 nodes that ONNX Runtime's CPU provider runs in float only.
#pragma once

#include "libopt/ir/graph.h"

namespace onnxtool {

/// Puts casts around every node that reads float16 tensors and has no CPU kernel for them, in the
/// graph and its subgraphs, as the runtime does when it loads an .onnx file and never does for a
/// .ort file; then drops pairs of casts that undo one another and casts that only feed casts, by
/// the runtime's rules, so that chains of such nodes pass floats on. Nodes that could run in
/// float16 but stand alone between others run in float too. Control flow is not wrapped. Types must
/// be inferred; nodes must be in topological order.
void insert_half_casts(Graph& graph);

}  // namespace onnxtool
