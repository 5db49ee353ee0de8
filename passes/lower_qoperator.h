// From the QDQ form of a quantized model to its QOperator form.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "libopt/ir/model.h"
#include "libopt/target/target.h"

namespace onnxtool {

struct FormReport {
  /// Nodes rewritten, by the operator that they became.
  std::map<std::string, int> rewritten;
};

/// Every operator between DequantizeLinear and QuantizeLinear for which `target` has an integer
/// operator becomes that operator, and operators that move elements run on codes. What has no such
/// form keeps its Q and DQ. Names follow onnxruntime's tools: node X_quant, result X_quantized.
/// Types must be inferred. `may_rewrite` is asked before each rewrite when set, with what the node
/// is called; a node that it declines stays as it is.
FormReport lower_to_qoperator(Model& model, const Target& target,
                              const std::function<bool(const std::string&)>& may_rewrite = {});

}  // namespace onnxtool
