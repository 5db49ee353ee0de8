// The bounds of a Clip, which were attributes before opset 11.
#pragma once

#include <limits>
#include <optional>

#include "libopt/ir/graph.h"

namespace onnxtool {

struct ClipBounds {
  double low, high;
};

/// nullopt: a bound is not constant. `open`, negated below, stands for one that is absent.
std::optional<ClipBounds> clip_bounds(const Node& clip,
                                      double open = std::numeric_limits<float>::max());

}  // namespace onnxtool
