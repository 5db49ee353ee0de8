// Trial inputs (trial_inputs.h) as samples, for comparisons where nobody gave data.
#pragma once

#include <memory>

#include "calib/data/source.h"
#include "calib/ranges/collect.h"
#include "libopt/ir/model.h"

namespace onnxtool {

/// Up to `count` sets of ordinary seeded values, without edge cases, on each of which the model
/// runs: others are left out. It describes itself as random. Errors: inputs for which no values can
/// be drawn; a model that runs on none of them (the failure of the last).
Result<std::unique_ptr<SampleSource>> open_trials(const Model& model, int64_t count,
                                                  const RunOptions& run);

}  // namespace onnxtool
