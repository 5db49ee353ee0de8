// Nodes that compute the same thing twice.
#pragma once

#include "libopt/ir/graph.h"

namespace onnxtool {

/// Replaces every node of this graph that has the operator, attributes and inputs of an earlier one
/// by that one; equal small constants are one input. Runtimes do so at load: two readers of one
/// result then share its integers. Left alone: graph outputs, nodes with subgraphs, what is random
/// or may do more than compute. Linear. Returns how many nodes went.
int deduplicate_nodes(Graph& graph);

}  // namespace onnxtool
