// Bias correction: a quantized layer whose outputs are off on average gets that off its bias.
//
//   b'_c = b_c - E[y_quantized_c - y_c]      over samples and positions, each layer fed the float
//                                            model's values through its own Q and DQ
//
// Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction"
// (2019), section 4.2, its empirical form.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "calib/data/source.h"
#include "calib/ranges/collect.h"
#include "quant/placement.h"

namespace onnxtool {

/// What is added to the bias of a layer, by channel; layers by the name of their first output.
using BiasCorrections = std::map<std::string, std::vector<float>>;

/// Of the layers of `placement` on integers that take a bias. `reference` is their model and `test`
/// what was made of it; outputs are joined by name. Corrections that are not finite are left out.
Result<BiasCorrections> measure_bias_corrections(const Placement& placement, const Graph& reference,
                                                 const Graph& test, const SampleSource& source,
                                                 const RunOptions& run);

/// Adds them; a layer without a bias gets one.
void apply_bias_corrections(Model& model, const BiasCorrections& corrections);

}  // namespace onnxtool
