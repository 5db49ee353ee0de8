// What flags settle about a model's inputs before it is optimized.
#pragma once

#include "apps/data_flags.h"
#include "libopt/ir/model.h"

namespace onnxtool {

/// --dim and --input-shape. What they settle holds for every value that names the same dimension.
/// Errors: as apply_shapes(); one dimension of two extents, or of one outside the range that the
/// model was optimized for.
Status freeze_dims(Model& model, const DataFlags& flags);

/// --freeze: defaults become constants; how many.
int freeze_inputs(Graph& graph);

}  // namespace onnxtool
