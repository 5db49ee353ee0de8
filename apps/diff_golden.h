// Golden sets as `diff` uses them: written, reported, and checked against the model that they are
// of.
#pragma once

#include <string>

#include "apps/report/report.h"
#include "calib/compare/golden.h"

namespace onnxtool {

Section golden_section(const Golden& golden, const std::string& path);

/// Runs the model on the samples and replaces the directory by the set; as record_golden().
Status write_golden_set(const Model& model, const SampleSource& source, const RunOptions& run,
                        Golden& about, const std::string& path, bool replace);

/// kMismatch where the directory holds more than the set, which replacing it would lose.
Status require_own_files(const Golden& golden, const std::string& path);

/// The stale guard: kMismatch where the set is not of this model, or does not say of which.
Status require_recorded_from(const Golden& golden, const std::string& golden_path,
                             const Model& model, const std::string& model_path);

/// kMismatch where `model` takes other inputs than the set has, so that its outputs cannot replace
/// those of the set.
Status require_same_inputs(const InputPairing& inputs, size_t set_inputs,
                           const std::string& model_path);

}  // namespace onnxtool
