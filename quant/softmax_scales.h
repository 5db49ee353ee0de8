// Scales behind Softmax that integer kernels compute with as they are.
//
// onnxruntime's QLinearSoftmax multiplies by floor(1 / scale) in float32, so that any scale which
// is no reciprocal makes all results too small, by up to 0.4 %; and where codes are s8, what lies
// beyond the last code wraps around to the first. Source: onnxruntime 1.31,
// contrib_ops/cpu/quantization/qlinear_softmax.cc.
#pragma once

#include <vector>

#include "quant/emit.h"

namespace onnxtool {

/// Raises the scales of what Softmax makes in 8 bits to the next reciprocal of a whole number, and
/// those of s8 until a probability of 1 has a code; ranges grow with them, zero points stay.
/// `params` belong to `placement.tensors`.
void round_softmax_scales(const Placement& placement, std::vector<TensorParams>& params);

}  // namespace onnxtool
