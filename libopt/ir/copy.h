// Copying a part of a model into another graph.
#pragma once

#include <vector>

#include "libopt/ir/graph.h"

namespace onnxtool {

/// Copies nodes (with their subgraphs) and initializers of `from`, a graph without inputs, into `to`,
/// before `anchor`, under fresh names of values. What `from` reads of graphs around it is read as it is,
/// so `to` must be `from`'s parent or one of its kind. Returns what stands for from's outputs.
std::vector<Value*> copy_into(const Graph& from, Graph& to, Node* anchor);

}  // namespace onnxtool
