// Nodes that call functions become the functions' bodies.
#pragma once

#include <functional>

#include "libopt/ir/model.h"
#include "libopt/support/status.h"

namespace onnxtool {

/// Replaces every call in the graph and its subgraphs, and those in the bodies that come with it.
/// Calls of the model's own functions always; nodes of the standard's functions where `expand` says
/// so. A function that calls itself is an error, and so are bodies of other opset versions whose
/// operators mean something else in the model's. New values have types where inference finds them.
Status inline_calls(Graph& graph, const std::function<bool(const Node&)>& expand);

/// Inlines every call of the model's own functions and takes these out, with imports of domains
/// that were theirs alone. Errors: as inline_calls; the model is then left in between.
Status inline_functions(Model& model);

}  // namespace onnxtool
