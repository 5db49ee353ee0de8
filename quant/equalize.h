// Cross-layer equalization by powers of two.
#pragma once

#include "calib/ranges/collect.h"
#include "libopt/ir/model.h"
#include "quant/placement.h"

namespace onnxtool {

struct EqualizeOptions {
  bool per_channel = true;  // rows of weights have scales of their own
  /// By what factor the predicted noise must fall between two layers. Below the default the
  /// prediction says little, and a network whose channels are even as they came is best left alone.
  double least_gain = 4;
};

/// Rescales the channels between two layers: row i of the first layer's weights and its bias by 1 /
/// s_i, column i of the second's by s_i, and those of all others that read the same. What stands
/// between must be positively homogeneous and keep channels apart (Relu, LeakyRelu, PRelu, pools,
/// Flatten, Transpose, Split). A second layer is on integers; the first and others may stay in
/// float. Every s_i is a power of two, and no weight leaves the normal range, so the model's float
/// output keeps its bits; values between the layers below 2^-62 may lose some.
///
/// Activations share one scale, rows of the second layer's weights have one each: a channel that is
/// small wastes codes of the activation, one that is large spends the weights'. The exponents
/// minimise the sum of both noises (quant/channel_noise.h); the idea of trading one for the other
/// is M. Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction",
/// 2019. The search starts where all channels reach equally far, and everything it reads scales
/// exactly with a channel, so the result does not depend on how the model came scaled.
///
/// Where all rows of a weight share one scale, rows of the first layer's weights that are small
/// waste codes too. Its neighbours on both sides then settle by turns.
///
/// Returns after how many layers channels were rescaled.
Result<int> equalize(Model& model, const Placement& placement, const SampleSource& source,
                     const RunOptions& run, const EqualizeOptions& options);

/// How many samples a side question may run: what costs about 2e10 multiplications, 4 to 512.
int64_t affordable_samples(const Placement& placement);

}  // namespace onnxtool
