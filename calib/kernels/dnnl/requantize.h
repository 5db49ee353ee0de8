// Integer sums to codes of 8 bits.
#pragma once

#include "calib/exec/kernel.h"

namespace onnxtool {

/// y = saturate(round_half_even((sum + bias[c]) * multipliers[c]) + zero_point), with sum -
/// line_sums[line] * weight_zeros[c] for sum where there are line sums; what precedes the product
/// wraps.
struct Requantization {
  const float* multipliers;  // [channels]
  const int32_t* bias;       // [channels]
  int64_t channels;
  int32_t zero_point, low, high;
  const int32_t* line_sums = nullptr;     // [lines]; nullptr: none
  const int32_t* weight_zeros = nullptr;  // [channels]
};

/// sums are [lines, channels]; lines of y start so many codes after each other.
void requantize(const int32_t* sums, int64_t lines, const Requantization& r, uint8_t* y,
                int64_t y_stride);

/// Element i of a tensor of 8-bit codes.
inline int32_t code_at(const ConstView& v, int64_t i) {
  return v.dtype == DataType::kInt8 ? static_cast<const int8_t*>(v.data)[i]
                                    : static_cast<const uint8_t*>(v.data)[i];
}

}  // namespace onnxtool
