// Which outputs are compared as floats, and which of them as 16-bit ones.
#pragma once

#include "libopt/ir/dtype.h"

namespace onnxtool {

/// Floats of any width: those of 8 and 4 bits, too, which is_float() leaves out.
constexpr bool is_any_float(DataType t) {
  return is_float(t) || (t >= DataType::kFloat8E4M3FN && t <= DataType::kFloat8E5M2FNUZ) ||
         t == DataType::kFloat4E2M1 || t == DataType::kFloat8E8M0;
}

constexpr bool is_half(DataType t) {
  return t == DataType::kFloat16 || t == DataType::kBfloat16;
}

}  // namespace onnxtool
