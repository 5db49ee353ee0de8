// Where a plan runs one operator for what exporters write as many: LayerNormalization, Gelu,
// attention, and products with a constant that is transposed first.
#pragma once

#include <functional>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

#include "libopt/ir/graph.h"

namespace onnxtool {

/// An operator that computes what a group of nodes states, up to rounding.
struct FloatGroup {
  std::string_view op, domain;
  int opset = 0;                     // the version of it that is meant
  std::vector<const Value*> inputs;  // all made before `last`
  std::vector<std::pair<std::string_view, std::variant<float, int64_t, std::string_view>>>
      attributes;
  const Node* last = nullptr;      // whose result it makes, and in whose place it runs
  std::vector<const Node*> nodes;  // `last` included
};

struct FloatGroups {
  std::unordered_map<const Node*, FloatGroup> by_last;
  std::unordered_set<const Node*> replaced;  // nodes that no longer run
};

/// Groups of one graph, subgraphs excluded, in float32, none of whose inner values anybody else
/// wants.
FloatGroups find_float_groups(const Graph& graph,
                              const std::function<bool(const Value&)>& is_watched);

}  // namespace onnxtool
