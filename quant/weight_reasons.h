// Why a node keeps its float weight, where several ways of quantizing say the same.
#pragma once

#include "libopt/ir/graph.h"

namespace onnxtool {

inline constexpr const char* kExcluded = "excluded";
inline constexpr const char* kNotIncluded = "not included";
inline constexpr const char* kConstantData = "the left operand is constant";
inline constexpr const char* kOldBroadcast = "below opset 7 a bias is broadcast in another way";

/// Of a weight that is no constant.
inline const char* why_not_constant(const Value& weight) {
  return weight.initializer() ? "the weight is a graph input that callers may override"
                              : "the weight is not constant, or quantized already";
}

}  // namespace onnxtool
