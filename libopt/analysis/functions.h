// Functions: operators that stand for graphs of other operators.
#pragma once

#include <cstdint>
#include <memory>

#include "libopt/ir/model.h"
#include "libopt/support/status.h"

namespace onnxtool {

/// How many nodes a graph may come to where calls are expanded: as many as the largest graphs that
/// everything here is made for. A chain of functions that call the next twice is as long as two to
/// the power of its depth.
inline constexpr uint64_t kMaxExpandedNodes = 1'000'000;

/// The model's function that the node calls; nullptr: it calls none.
const Function* called_function(const Node& node);

/// The standard's definition of the node's operator by others, for this node's attributes and input
/// types, as the only function of a model. nullptr: there is none.
Result<std::unique_ptr<Model>> standard_function(const Node& node);

/// The definition that ONNX Runtime puts in the node's place, in the node's opset. nullptr also
/// where that opset has another version of an operator in it than the definition was written for.
Result<std::unique_ptr<Model>> runtime_function(const Node& node);

}  // namespace onnxtool
