// Cross-layer equalization by powers of two.
#pragma once

#include "calib/ranges/collect.h"
#include "libopt/ir/model.h"
#include "quant/placement.h"

namespace onnxtool {

/// Rescales the channels between two layers: row i of the first layer's weights and its bias by 1 / s_i,
/// column i of the second's by s_i. What stands between must be positively homogeneous and keep
/// channels apart (Relu, LeakyRelu, pools, Flatten). Every s_i is a power of two, so the model's float
/// output keeps its bits.
///
///   s_i = 2^round(1/2 log2(a_i / w_i))    a_i = largest |activation| of channel i on the data,
///                                         w_i = max over rows o of |W2[o, i]| / b_o, with b_o the
///                                         largest |output| of row o on the data
///
/// Activations share one scale, and rows of W2 have one each: this s evens out what both make of
/// channel i (M. Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias
/// Correction", 2019, eq. 11, with measured ranges). Since a and 1/w scale alike when a channel is
/// rescaled, the result does not depend on how the model came scaled. A depthwise second layer has a
/// scale per channel, so there s_i = 2^round(log2 a_i).
///
/// Returns the number of rescaled pairs of layers.
Result<int> equalize(Model& model, const Placement& placement, const SampleSource& source, const RunOptions& options);

}  // namespace onnxtool
