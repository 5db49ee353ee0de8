// Which nodes may be dropped when nobody reads what they make, and which may be computed early.
#pragma once

#include "libopt/ir/graph.h"

namespace onnxtool {

/// Whether the node might do more than make its outputs. Operators of the standard and of
/// com.microsoft do not; those of other domains may (print, count, keep state), unless the model
/// defines them as functions of operators that do not. Subgraphs count.
bool may_have_effects(const Node& node);

/// Whether equal inputs give equal outputs: known operators without randomness, subgraphs included.
bool is_deterministic(const Node& node);

}  // namespace onnxtool
