// `diff --per-layer local --bisect DIR`: the first layer that diverged, as a model with its inputs.
#pragma once

#include <string>

#include "apps/diff_layers.h"
#include "calib/compare/isolate.h"

namespace onnxtool {

/// Writes model.onnx and test_data_set_0 into a new directory; `replace`: whatever stands there.
/// Says in the section of the layers where it is.
Status write_first_divergence(const IsolatedLayer& layer, const std::string& directory,
                              bool replace, Section& section);

}  // namespace onnxtool
