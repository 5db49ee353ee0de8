// Layers between which channels can be rescaled, and how their weights lie.
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

/// A layer and those that read it, with nothing between that would notice a change of scale.
struct Link {
  struct Reader {
    const Node* layer;
    int64_t repeat = 1;        // columns of the layer per channel (a Flatten of C x H x W)
    int64_t first = 0;         // of the first layer's channels (a part of a Split)
    int64_t channels = -1;     // from there on; -1: all
    bool on_integers = false;  // what it reads is rounded, and its weights are
  };
  const Node* first;
  const Value*
      activation;  // [N, C, ...], what the readers read, before any Flatten, Transpose, Split
  std::vector<Reader> readers;
  bool rounds_first = true;  // the first layer's weights become integers, too
};

/// Those with a reader on integers. The others may be in float, and so may the first layer: its
/// channels share the scale of that value all the same.
std::vector<Link> links_of(const Graph& graph, const Placement& placement);

/// What the reader's weights in a column belong to.
inline int64_t channel_of(const Link::Reader& reader, const WeightView& weight, int64_t row,
                          int64_t column) {
  return reader.first +
         (row / (weight.rows / weight.group) * weight.columns + column) / reader.repeat;
}

}  // namespace onnxtool
