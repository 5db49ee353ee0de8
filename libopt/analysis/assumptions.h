// What the user says of dynamic dimensions: `--assume batch=1..64`. It stands in the model's
// metadata, since a model that was optimized under it holds under it only.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "libopt/analysis/extent.h"
#include "libopt/ir/model.h"
#include "libopt/support/status.h"

namespace onnxtool {

inline constexpr std::string_view kAssumptionsKey = "onnxtool.assume";

/// Adds NAME=LOW..HIGH, or NAME=LOW.. without an upper end, to what the model says. Errors: no such
/// form, or no input that has a dimension of that name.
Status assume(Model& model, const std::vector<std::string>& assumptions);

/// What the model's entry says; what it does not mention, or says in another form, is missing.
ExtentRanges assumptions_of(const Model& model);

/// Whether the extent is 1 at least.
bool is_positive(const Dim& dim, const Model& model);

}  // namespace onnxtool
