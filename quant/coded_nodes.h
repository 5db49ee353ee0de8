// Nodes of a model that is quantized already: what runtimes make integer kernels of, together with
// the QuantizeLinear and DequantizeLinear around it.
#pragma once

#include <set>
#include <vector>

#include "libopt/ir/graph.h"

namespace onnxtool {

/// Of `nodes`, in graph order: what stands between DequantizeLinear and QuantizeLinear, layers with
/// quantized weights, activations that their result's Q expresses, and what moves such data. Not Q
/// and DQ themselves.
std::set<const Node*> coded_nodes(const std::vector<Node*>& nodes);

}  // namespace onnxtool
