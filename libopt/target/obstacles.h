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

/// Why AveragePool does not compute on integers; nullptr: it does. Nor may it stand between a DQ
/// and a Q where onnxruntime is to read them: its kernel gets the attribute, which it does not
/// have, and the model does not load (1.31).
inline const char* dilated_pool(const Node& node) {
  for (const int64_t d : node.attr<std::vector<int64_t>>("dilations", {}))
    if (d != 1) return "QLinearAveragePool has no dilations";
  return nullptr;
}

}  // namespace onnxtool
