// Pairs of layers between which channels can be rescaled, and how their weights lie.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "quant/placement.h"

namespace onnxtool {

/// How a constant weight is indexed: [rows, columns, inner] with rows the output channels.
struct WeightView {
  const Tensor* tensor = nullptr;
  int64_t rows = 0, columns = 0, inner = 1;
  bool transposed = false;  // stored as [columns, rows]
  int64_t group = 1;        // columns count one group's
  /// The first of `inner` weights, which lie side by side.
  size_t at(int64_t row, int64_t column) const {
    return static_cast<size_t>(transposed ? column * rows + row : (row * columns + column) * inner);
  }
};

/// Of a Conv, Gemm or MatMul with constant float weights; nullopt: of anything else.
std::optional<WeightView> weight_of(const Node& node);

/// Two layers with nothing between that would notice a change of scale.
struct Link {
  const Node* first;
  const Node* second;
  const Value* activation;   // [N, C, ...], what the second layer reads, before any Flatten
  int64_t repeat = 1;        // columns of the second layer per channel (a Flatten of C x H x W)
  bool rounds_first = true;  // the first layer's weights become integers, too
};

/// Pairs whose second layer is on integers, since what that one reads is rounded. The first may be
/// in float: its channels share the scale of that value all the same.
std::vector<Link> links_of(const Graph& graph, const Placement& placement);

/// What the second layer's weights in a column belong to.
inline int64_t channel_of(const Link& link, const WeightView& second, int64_t row, int64_t column) {
  return (row / (second.rows / second.group) * second.columns + column) / link.repeat;
}

}  // namespace onnxtool
