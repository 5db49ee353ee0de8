// What a model carries that no runtime needs.
#pragma once

#include "libopt/ir/model.h"

namespace onnxtool {

/// Removes the doc strings of the model, and of its graphs, nodes, values and functions, their
/// metadata, and names of nodes, in subgraphs and functions too. The model's own metadata stays,
/// which applications read (labels, preprocessing), and so do names of values. Returns how many
/// things went.
int strip(Model& model);

}  // namespace onnxtool
