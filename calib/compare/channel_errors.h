// The mean error of every channel of a layer, as the layer makes it.
#pragma once

#include <span>
#include <vector>

#include "calib/compare/layers.h"

namespace onnxtool {

/// For each pair the mean of test - reference by channel (axis 1), where each layer of the test
/// model is fed the reference's values of the pairs before it. Empty for values that are no floats
/// of rank 2 and more, or of different shapes. The result does not depend on threads; one sample's
/// values of all pairs are held at a time.
Result<std::vector<std::vector<double>>> channel_errors(const Graph& reference, const Graph& test,
                                                        std::span<const LayerPair> pairs,
                                                        const SampleSource& source,
                                                        const RunOptions& run);

}  // namespace onnxtool
