// Conditions on nodes that several targets share, since they are the standard's.
#pragma once

#include "libopt/ir/graph.h"

namespace onnxtool {

/// Why MaxPool cannot compute on integers; nullptr: it can.
inline const char* max_pool_obstacle(const Node& node) {
  if (node.opset() < 12) return "MaxPool takes integers from opset 12 on";
  return node.num_outputs() > 1 && node.has_output(1) ? "the indices output keeps MaxPool in float"
                                                      : nullptr;
}

}  // namespace onnxtool
