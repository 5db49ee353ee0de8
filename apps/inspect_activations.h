// What a model's values hold when it runs on samples.
#pragma once

#include <string>
#include <vector>

#include "apps/inspect_report.h"
#include "calib/ranges/collect.h"
#include "calib/ranges/summary.h"

namespace onnxtool {

struct Activation {
  const Value* value = nullptr;
  Summary summary;  // of all samples
};

/// Of every value of the main graph that floats are computed for, inputs included. `only`, where
/// not empty, is the name of the one that is wanted.
Result<std::vector<Activation>> collect_activations(const Model& model, const SampleSource& source,
                                                    const RunOptions& run, const std::string& only);

Section activations_section(const std::vector<Activation>& activations, int64_t samples,
                            const InspectLimits& limits);

/// As graph_drawing(model), with histograms of these values, too.
Section graph_drawing(const Model& model, const std::vector<Activation>& activations);

/// Equal steps from the smallest to the largest finite value; empty where there are none.
std::optional<Histogram> histogram_of(const Summary& summary, size_t steps);

}  // namespace onnxtool
