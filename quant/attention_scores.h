// Where attention keeps its scores.
#pragma once

#include <set>

#include "libopt/ir/graph.h"

namespace onnxtool {

/// Below it, a constant shuts elements out of a Softmax.
inline constexpr double kMaskLevel = -1e3;

/// Adds the Softmax, and everything between the product that makes its scores and it, where a mask
/// is put on the scores on the way; nothing where none is.
void mark_scores(const Node& softmax, std::set<const Node*>& marked);

}  // namespace onnxtool
