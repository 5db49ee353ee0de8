// What a model says of the data that it takes.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "calib/data/source.h"
#include "libopt/ir/model.h"

namespace onnxtool {

/// The inputs that samples must fill.
Result<std::vector<InputSpec>> input_specs(const Model& model);

/// Bounds of integer inputs from what reads them, so that the model can run: indices (Gather and
/// its kin, ScatterND, OneHot, embeddings) lie within what is indexed, trip counts are small.
std::map<std::string, IntegerBounds> integer_bounds(const Model& model);

}  // namespace onnxtool
