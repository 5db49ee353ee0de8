// Scales and zero points of QuantizeLinear and DequantizeLinear: checked, and where they apply.
#pragma once

#include "calib/kernels/cpu/convert.h"

namespace onnxtool {

inline bool is_small_float(DataType type) {
  return bits_of(type) <= 8 && wide_type(type) == DataType::kFloat;
}

struct IntRange {
  int32_t low, high;
};
/// {0, 0}: not a quantized integer type.
inline IntRange range_of(DataType type) {
  switch (type) {
    case DataType::kUint8: return {0, 255};
    case DataType::kInt8: return {-128, 127};
    case DataType::kUint16: return {0, 65535};
    case DataType::kInt16: return {-32768, 32767};
    case DataType::kUint4: return {0, 15};
    case DataType::kInt4: return {-8, 7};
    case DataType::kUint2: return {0, 3};
    case DataType::kInt2: return {-2, 1};
    default: return {0, 0};
  }
}

/// Scales and zero points of a tensor, and how they lie along it.
struct QuantParameters {
  enum class Kind { kTensor, kAxis, kBlock };
  Kind kind = Kind::kTensor;
  LineShape shape;  // around the axis; n is 1 per tensor
  int64_t block = 1;
  const float* scale = nullptr;
  const int32_t* zero_point = nullptr;  // nullptr: all 0

  int64_t blocks() const { return (shape.n + block - 1) / block; }
};

/// Of inputs 1 and 2 for input 0, by attributes `axis` and `block_size`.
Result<QuantParameters> quant_parameters_of(KernelContext& ctx);

}  // namespace onnxtool
