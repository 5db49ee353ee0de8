// Scales behind Softmax that integer kernels compute with as they are
// (libopt/target/softmax_limits.h).
#pragma once

#include <vector>

#include "quant/emit.h"

namespace onnxtool {

/// Raises the scales of what Softmax makes of codes, in 8 bits, to the next reciprocal of a whole
/// number that the kernel can multiply by; of s8 further, until a probability of 1 has a code. A
/// Softmax that stays float between codes counts too: a target that finds it there fuses it. Ranges
/// grow with scales, zero points stay. `params` belong to `placement.tensors`.
void round_softmax_scales(const Graph& graph, const Placement& placement,
                          std::vector<TensorParams>& params);

}  // namespace onnxtool
