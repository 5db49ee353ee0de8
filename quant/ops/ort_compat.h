// What onnxruntime's quantizer (quantize_static, release 1.31) does with operators, where that is
// not what suits its kernels: `--preset ort-compat` does the same.
#pragma once

#include "quant/ops/handler.h"
#include "quant/scheme.h"

namespace onnxtool {

/// The handler under ort_compat; nullptr: the operator is left as it is. In QDQ form this has some
/// operators that onnxruntime runs in float, between Q and DQ.
const OpHandler* ort_compat_handler(const Node& node, Form form);

/// When it quantizes an operator, going by the order of nodes.
enum class OrtWhen : uint8_t {
  kAlways,
  kInputIsQuantized,   // by then, its first one
  kInputsAreQuantized  // all that are data
};
OrtWhen ort_compat_when(const Node& node, const OpHandler& handler, Form form);

}  // namespace onnxtool
