// What Constant nodes hold, in whichever of their attributes.
#pragma once

#include <optional>

#include "libopt/ir/graph.h"

namespace onnxtool {

/// The tensor of a Constant node: its `value`, or what value_float(s), value_int(s) and
/// value_string(s) stand for. nullopt: a sparse value, a reference to a function's attribute, or
/// another operator. Source: ONNX Constant-13.
std::optional<Tensor> constant_of(const Node& node);

/// Gives all Constant nodes of the graph and its subgraphs that can have one a `value`, named as
/// their output, so that Value::constant() knows them all.
void store_constants_as_tensors(Graph& graph);

}  // namespace onnxtool
