// The padding masks of com.microsoft's attention operators.
#pragma once

#include "calib/kernels/cpu/attention_core.h"

namespace onnxtool {

/// What a mask adds to scores, 0 or `hidden`: float of [batch or 1, 1, rows or 1, keys]. The mask
/// is int32 of
///   [batch]: keys that count, from the first one on;  [2 * batch]: ends, then begins of them;
///   [batch, keys] or [batch, rows, keys]: 0 hides a key.
Result<ConstView> padding_bias(KernelContext& ctx, const ConstView& mask, const HeadShape& q,
                               int64_t keys, float hidden, std::vector<int64_t>& dims);

/// The sum of two biases, of which either may be absent.
struct TwoBiases {
  MaskBias<float> first, second;
};

/// Inputs `padding` and `bias` (-1 or absent: none) as biases behind `window`.
Result<TwoBiases> read_biases(KernelContext& ctx, KeyWindow window, int padding, int bias,
                              const HeadShape& q, int64_t keys);

}  // namespace onnxtool
