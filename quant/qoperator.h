// The two written forms of a quantized model, and the way from one to the other.
//
// QDQ states float operators between DequantizeLinear and QuantizeLinear; QOperator states the
// integer operators that a runtime makes of them. Both have the same scales, zero points and codes.
#pragma once

#include <map>
#include <string>

#include "libopt/ir/model.h"
#include "libopt/support/status.h"
#include "libopt/target/target.h"

namespace onnxtool {

struct FormReport {
  /// Nodes rewritten, by the operator that they became.
  std::map<std::string, int> rewritten;
};

/// QDQ to QOperator: every operator between DequantizeLinear and QuantizeLinear for which `target`
/// has an integer operator becomes that operator, and operators that move elements run on codes.
/// What has no such form keeps its Q and DQ. Names follow onnxruntime's tools: node X_quant, result
/// X_quantized. Types must be inferred.
FormReport lower_to_qoperator(Model& model, const Target& target);

/// QOperator to QDQ: the integer operators of the table in raise_qoperator.cc become float
/// operators between DequantizeLinear and QuantizeLinear. The opset is raised where per-channel
/// scales need it. What has no float form (MatMulInteger and the like) stays. Errors: nodes that
/// cannot be converted to that opset.
Result<FormReport> raise_to_qdq(Model& model);

}  // namespace onnxtool
