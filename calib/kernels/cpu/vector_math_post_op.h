// Fused activations as loops of their own, for the kernels and for modules, which compile them
// again.
#pragma once

#include "calib/exec/kernel.h"

namespace onnxtool {

/// y[i] = op(y[i]); not for additions. NaN stays NaN.
void apply_post_op(const PostOp& op, float* y, int64_t n);

}  // namespace onnxtool
