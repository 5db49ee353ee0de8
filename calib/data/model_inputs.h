// What a model says of the data that it takes.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "calib/data/source.h"
#include "libopt/ir/model.h"

namespace onnxtool {

/// The inputs that samples must fill.
Result<std::vector<InputSpec>> input_specs(const Model& model);

/// The numbers of an integer type of 8 to 64 bits that int64 has, too; nullopt: another type.
std::optional<IntegerBounds> range_of_type(DataType dtype);

/// Whether an input of this name is a mask, by what exporters call them.
bool names_a_mask(std::string_view name);

/// Bounds of integer inputs from what reads them, so that the model can run: indices (Gather and
/// its kin, ScatterND, OneHot, embeddings) lie within what is indexed, trip counts are small.
/// Arithmetic with constants and masks on the way is followed back. What nothing indexes by takes
/// the numbers that it is compared with; what is only asked for being 0 is a mask.
std::map<std::string, IntegerBounds> integer_bounds(const Model& model);

}  // namespace onnxtool
