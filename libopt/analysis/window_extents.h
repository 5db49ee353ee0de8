// Extents behind windows that slide over open extents, which onnx's functions leave unknown.
#pragma once

#include <optional>
#include <vector>

#include "libopt/ir/graph.h"

namespace onnxtool {

/// [N, C, spatial...] of a convolution's or pool's result: N, C and what onnx's functions know
/// themselves is left open. nullopt: another operator, or one whose window is not known.
std::optional<std::vector<Dim>> window_extents(const Node& node);

}  // namespace onnxtool
