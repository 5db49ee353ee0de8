// Where the operators that multiply matrices of 8-bit codes have their inputs: MatMulInteger,
// QLinearMatMul and com.microsoft's MatMulIntegerToFloat, DynamicQuantizeMatMul and QGemm.
#pragma once

#include <string_view>

namespace onnxtool {

/// Indices; -1: the operator has none such. a is input 0.
struct IntProductInputs {
  int a_scale = -1, a_zero = -1, b = -1, b_scale = -1, b_zero = -1, bias = -1, y_scale = -1,
      y_zero = -1;
};

constexpr IntProductInputs int_product_inputs(std::string_view op) {
  if (op == "MatMulInteger") return {.a_zero = 2, .b = 1, .b_zero = 3};
  if (op == "DynamicQuantizeMatMul") return {.b = 1, .b_scale = 2, .b_zero = 3, .bias = 4};
  if (op == "MatMulIntegerToFloat")
    return {.a_scale = 2, .a_zero = 4, .b = 1, .b_scale = 3, .b_zero = 5, .bias = 6};
  IntProductInputs at{.a_scale = 1, .a_zero = 2, .b = 3, .b_scale = 4, .b_zero = 5};
  const bool biased = op == "QGemm";
  if (biased) at.bias = 6;
  at.y_scale = biased ? 7 : 6;
  at.y_zero = biased ? 8 : 7;
  return at;
}

}  // namespace onnxtool
