// Types of the codes that quantized tensors hold.
#pragma once

#include "libopt/ir/dtype.h"

namespace onnxtool {

/// u8 or s8.
inline bool is_8bit(DataType type) { return type == DataType::kUint8 || type == DataType::kInt8; }

}  // namespace onnxtool
