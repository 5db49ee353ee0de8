// Node order.
#pragma once

#include "libopt/ir/graph.h"
#include "libopt/support/status.h"

namespace onnxtool {

/// Puts producers before users, subgraph reads included; keeps the present order wherever that is
/// one already. A cycle is an error that names a node on it. Linear in nodes and uses.
Status sort_topologically(Graph& graph);

}  // namespace onnxtool
