// Brings activations to the layers that can absorb them.
#pragma once

#include "libopt/ir/graph.h"
#include "libopt/target/target.h"

namespace onnxtool {

/// Relu and Clip with constant bounds around 0 go from behind operators that only arrange elements
/// (Reshape, Flatten, Squeeze, Unsqueeze, Transpose) to right behind the operator of the target
/// whose results these arrange, and from behind a MaxPool to the layer before it, where nothing
/// else reads what is between:
///
///   r = Relu(Squeeze(Conv(x)))   =>   r = Squeeze(Relu(Conv(x)))
///
/// Where the activation ended, the same values have the same name: what is squeezed above is `r`
/// then, and what the Relu gives has a new name. Numbers are the same.
void hoist_activations(Graph& graph, const Target& target);

/// Whether they go past it: its result has all elements of its input in another arrangement, or the
/// largest of each window.
bool activations_pass(const Node& node);

}  // namespace onnxtool
