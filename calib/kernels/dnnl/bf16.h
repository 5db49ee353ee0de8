// Products in bfloat16: a kernel set of its own, before dnnl in a plan's list. Both operands are
// rounded to 8 significant bits, half to even; products and sums are those of float32. So
//   |y - exact| <= (2^-8 + 2^-18 + K 2^-24) * sum over k of |a[k] b[k]|
#pragma once

#include "calib/kernels/dnnl/convolution.h"

namespace onnxtool {

inline constexpr ConvolutionTypes kBf16Operands{.source = DnnlType::bf16,
                                                .weights = DnnlType::bf16};

/// Whether this CPU has instructions for it: without them float32 is faster.
bool has_bf16();

/// The values rounded, in scratch memory.
Result<const void*> rounded_to_bf16(KernelContext& ctx, const float* values, int64_t count);

}  // namespace onnxtool
