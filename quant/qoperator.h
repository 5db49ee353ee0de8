// The two written forms of a quantized model, and the way from one to the other.
//
// QDQ states float operators between DequantizeLinear and QuantizeLinear; QOperator states the
// integer operators that a runtime makes of them. Both have the same scales, zero points and codes.
#pragma once

#include "libopt/support/status.h"
#include "passes/lower_qoperator.h"

namespace onnxtool {

/// QOperator to QDQ: the integer operators of the table in raise_qoperator.cc become float
/// operators between DequantizeLinear and QuantizeLinear. The opset is raised where per-channel
/// scales need it. What has no float form (MatMulInteger and the like) stays. Errors: nodes that
/// cannot be converted to that opset.
Result<FormReport> raise_to_qdq(Model& model);

}  // namespace onnxtool
