// How long a target takes for a node in float and on integers, and for the way between.
#pragma once

#include <functional>
#include <vector>

#include "libopt/ir/graph.h"

namespace onnxtool {

/// Extents of a value, all known or guessed.
using ShapeOf = std::function<std::vector<int64_t>(const Value&)>;

struct NodeCost {
  double float_ns = 0, integer_ns = 0;
};

/// Rough, for one thread; what matters is which of two is larger.
struct CostModel {
  NodeCost (*node)(const Node&, const ShapeOf&) = nullptr;
  /// What it takes to have a float value as integers, and back for one reader: QuantizeLinear or
  /// DequantizeLinear with the changes of layout that come with it.
  double (*quantize_ns)(const Value&, const ShapeOf&) = nullptr;
  double (*dequantize_ns)(const Value&, const ShapeOf&) = nullptr;
  /// DynamicQuantizeLinear of a value, and what else a product takes more that reads it.
  double (*dynamic_ns)(const Value&, const ShapeOf&) = nullptr;
};

extern const CostModel kOrtCpuCost;

}  // namespace onnxtool
