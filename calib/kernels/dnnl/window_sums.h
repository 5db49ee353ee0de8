// What zero points of weights take off sums of products.
#pragma once

#include "calib/kernels/dnnl/convolution.h"

namespace onnxtool {

/// For each output pixel of a convolution without groups the sum of x - zero_point over its window
/// and all channels, padding left out. x: [images, in..., channels] codes. In scratch memory;
/// sums wrap.
Result<const int32_t*> window_sums(KernelContext& ctx, const ConvolutionProblem& problem,
                                   const uint8_t* x, bool is_signed, int32_t zero_point);

}  // namespace onnxtool
