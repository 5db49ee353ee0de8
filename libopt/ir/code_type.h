// Types of the codes that quantized tensors hold.
#pragma once

#include "libopt/ir/dtype.h"

namespace onnxtool {

/// u8 or s8.
inline bool is_8bit(DataType type) { return type == DataType::kUint8 || type == DataType::kInt8; }

/// s2 to s16; what is asked about is an integer.
inline bool is_signed(DataType type) {
  return type == DataType::kInt8 || type == DataType::kInt16 || type == DataType::kInt4 ||
         type == DataType::kInt2;
}

}  // namespace onnxtool
