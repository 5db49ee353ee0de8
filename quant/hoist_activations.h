// Brings activations to the layers that can absorb them.
#pragma once

#include "libopt/ir/graph.h"

namespace onnxtool {

/// Relu and Clip with constant bounds go from behind operators that only arrange elements (Reshape,
/// Flatten, Squeeze, Unsqueeze, Transpose) to right behind the operator whose results these
/// arrange, and from behind a MaxPool to the layer before it, where nothing else reads what is
/// between:
///
///   r = Relu(Squeeze(Conv(x)))   =>   r = Squeeze(Relu(Conv(x)))
///
/// Where the activation ended, the same values have the same name: what is squeezed above is `r`
/// then, and what the Relu gives has a new name. Numbers are the same.
void hoist_activations(Graph& graph);

}  // namespace onnxtool
