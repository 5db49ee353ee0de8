// Integer operators that have a float form.
//
// Order of inputs: ONNX QLinearConv-10 and QLinearMatMul-10, and onnxruntime's operator list for
// com.microsoft.
#pragma once

#include <string_view>
#include <vector>

#include "libopt/ir/graph.h"

namespace onnxtool {

inline constexpr int kNoInput = -1;

/// Where an integer operator has what. Operands are (codes, scale, zero point) each.
struct IntegerOperator {
  std::string_view op, domain, float_op;
  std::vector<int> operands;  // index of each operand's codes
  int result_scale;           // followed by its zero point; the result is float where it is absent
  int bias = kNoInput;        // in steps of both operands' scales
  int channel_axis = kNoInput;  // of the second operand's vector of scales; kNoInput: the last
};

/// nullptr: it is none, or one whose inputs are not of this kind (Concat, Where).
const IntegerOperator* find_integer_operator(const Node& node);

/// Whether the float operator says the same as the integer one's attributes.
bool has_float_form(const Node& node);

/// Whether its results are elements of its first input.
bool is_mover(const Node& node);

/// Whether some operator has a vector of scales, which Q and DQ take from opset 13 on.
bool has_vector_scale(const Graph& graph);

}  // namespace onnxtool
