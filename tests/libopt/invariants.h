// What must hold of every graph after every edit.
#pragma once

#include "libopt/ir/graph.h"

namespace onnxtool::testing {

/// Uses and inputs agree, producers and outputs agree, producers stand before users, names lead to
/// their values. Subgraphs included.
void check_invariants(const Graph& graph);

}  // namespace onnxtool::testing
