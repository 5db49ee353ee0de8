// Codes of averages with the roundings of onnxruntime, for the host and devices: averages of few
// codes tie often.
#pragma once

#include "calib/kernels/cpu/quant_params.h"

namespace onnxtool {

/// What a code adds to the sum of a window.
ONNXTOOL_HD inline float averaged_value(const Quantization& x, int32_t code) {
  return rounded_product(x.scale, static_cast<float>(code - x.zero_point));
}

/// AveragePool: saturate(round_half_even(sum of values / count / y_scale + y_zero_point)).
ONNXTOOL_HD inline uint8_t average_code(float sum, int64_t count, const Quantization& y) {
  const Quantization steps{.scale = 1, .zero_point = 0, .type = y.type};
  return steps.code(sum / static_cast<float>(count) / y.scale + static_cast<float>(y.zero_point));
}

/// GlobalAveragePool: saturate(round_half_even(sum of differences * ratio) + y_zero_point), with
/// ratio = x_scale / (y_scale * count).
ONNXTOOL_HD inline uint8_t global_average_code(int64_t sum, float ratio, const Quantization& y) {
  const Quantization steps{.scale = 1, .zero_point = y.zero_point, .type = y.type};
  return steps.code(static_cast<float>(sum) * ratio);
}

}  // namespace onnxtool
