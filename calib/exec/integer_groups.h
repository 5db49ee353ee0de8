// Where a plan runs on integers what the graph states in floats between DequantizeLinear and
// QuantizeLinear.
#pragma once

#include <functional>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "libopt/ir/graph.h"

namespace onnxtool {

/// A float operator between DequantizeLinear and QuantizeLinear as the operator that computes its
/// codes from codes. Attributes are the float operator's.
struct IntegerGroup {
  std::string_view op, domain;
  const Node* core = nullptr;
  const Node* last = nullptr;        // the QuantizeLinear; the core where the result is float
  std::vector<const Value*> inputs;  // nullptr: absent
};

struct IntegerGroups {
  std::unordered_map<const Node*, IntegerGroup> by_core;
  /// Nodes that no longer run: activations that saturation covers, QuantizeLinear behind a core,
  /// DequantizeLinear that only cores read.
  std::unordered_set<const Node*> replaced;
  /// Values of which the plan has the codes, of that type, where the graph states floats.
  std::unordered_map<const Value*, DataType> codes;
};

/// What the search asks of the plan.
struct IntegerQuestions {
  /// The value must exist although nothing reads it.
  std::function<bool(const Value&)> is_watched;
  /// Some kernel set serves the operator on this type of its first data input.
  std::function<bool(std::string_view op, std::string_view domain, int opset, DataType type)>
      has_kernel;
};

/// Groups of one graph, subgraphs excluded. Results are within one step of the float operator's
/// codes: sums are exact, and a product of scales is rounded once where floats round at every
/// operator.
IntegerGroups find_integer_groups(const Graph& graph, const IntegerQuestions& questions);

}  // namespace onnxtool
