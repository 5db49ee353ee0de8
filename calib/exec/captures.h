// What a subgraph reads of the graphs around it.
#pragma once

#include <vector>

#include "libopt/ir/graph.h"

namespace onnxtool {

/// Values of `outer` and its parents that `sub` reads, at any depth, in first-use order.
std::vector<const Value*> captured_values(const Graph& outer, const Graph& sub);

}  // namespace onnxtool
