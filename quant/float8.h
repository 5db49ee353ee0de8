// Scales and codes of 8-bit floats: float8e4m3fn and float8e5m2.
//
//   q = saturate(nearest 8-bit float of x / scale)      x' = q * scale
//
// There is no zero point. Source: ONNX QuantizeLinear-19, and the "float8" page of its
// specification.
#pragma once

#include <cstdint>
#include <span>

#include "libopt/ir/dtype.h"
#include "libopt/support/status.h"
#include "quant/params.h"

namespace onnxtool {

/// The formats that scale_of_float8() and scheme_of() know.
inline bool is_quantized_float(DataType type) {
  return type == DataType::kFloat8E4M3FN || type == DataType::kFloat8E5M2;
}

QuantScheme float8_scheme(DataType type);

/// The scale with the least squared error among those that put the largest magnitude, `absmax`,
/// between half and twice the format's largest value. Values are finite. As compute(), an error
/// where the scale passes float.
Result<float> scale_of_float8(std::span<const float> values, float absmax,
                              const QuantScheme& scheme);

/// The code of a finite value.
uint8_t encode_float8(float x, float scale, const QuantScheme& scheme);
float decode_float8(uint8_t code, float scale, DataType type);

}  // namespace onnxtool
