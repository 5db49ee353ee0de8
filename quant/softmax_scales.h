// Scales behind Softmax that integer kernels compute with as they are.
//
// onnxruntime's QLinearSoftmax multiplies powers by floor(1 / scale), in float32:
//   - any scale that is no reciprocal makes all results too small, by up to 0.4 %
//   - a row of n entries has powers of up to FLT_MAX / (n e^5): where 1 / scale passes n e^5 the
//     products are infinite, and the results 0
//   - of s8, what lies beyond the last code wraps around to the first
// Source: onnxruntime 1.31, contrib_ops/cpu/quantization/qlinear_softmax.cc.
#pragma once

#include <vector>

#include "quant/emit.h"

namespace onnxtool {

/// Raises the scales of what Softmax makes in 8 bits to the next reciprocal of a whole number that
/// the kernel can multiply by; of s8 further, until a probability of 1 has a code. Rows of open
/// length count as one entry. Ranges grow with scales, zero points stay. `params` belong to
/// `placement.tensors`.
void round_softmax_scales(const Placement& placement, std::vector<TensorParams>& params);

}  // namespace onnxtool
