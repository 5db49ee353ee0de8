// Which of the nodes that could run on integers save time by it.
#pragma once

#include <cstdint>
#include <vector>

namespace onnxtool {

struct WeighedNode {
  double float_ns = 0, integer_ns = 0;
};

/// A value between nodes, which are given by index.
struct WeighedTensor {
  int producer = -1;         // -1: float whatever is decided, as a graph input is
  std::vector<int> readers;  // nodes that take it as integers where they run on them
  int float_readers = 0;     // that read floats whatever is decided; a graph output is one
  /// Once, where a float producer meets readers on integers.
  double quantize_ns = 0;
  /// For each float reader of an integer producer.
  double dequantize_ns = 0;
};

/// For each node whether it runs on integers, such that the sum of all times is least: a minimal
/// cut between "integer" and "float". Where both take as long, integers win.
std::vector<bool> cheapest_placement(const std::vector<WeighedNode>& nodes,
                                     const std::vector<WeighedTensor>& tensors);

}  // namespace onnxtool
