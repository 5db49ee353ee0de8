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

/// Adds NAME=LOW..HIGH, or NAME=LOW.. without an upper end, to what the model says; several ranges
/// of one dimension hold all. Errors: no such form; no input that has a dimension of that name; a
/// range that check_assumed() refuses; ranges without a common number.
Status assume(Model& model, const std::vector<std::string>& assumptions);

/// What an earlier run relied on cannot be taken back. Error, which begins with the flag: the model
/// says of this dimension that it is in a range in which `range` is not.
Status check_assumed(const Model& model, std::string_view flag, const std::string& name,
                     const ExtentRange& range);

/// What the model's entry says; what it does not mention, or says in another form, is missing.
ExtentRanges assumptions_of(const Model& model);

/// Whether the extent is 1 at least.
bool is_positive(const Dim& dim, const Model& model);

}  // namespace onnxtool
