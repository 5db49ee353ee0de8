// Scales and axes that a model brings along, where it is quantized already.
#pragma once

#include "libopt/ir/model.h"
#include "libopt/support/status.h"

namespace onnxtool {

/// Fails (kBadData) for a QuantizeLinear or DequantizeLinear, in any graph of the model, whose
/// constant scale holds zero, NaN or infinity, or whose axis lies outside its tensor: no integers
/// mean anything there.
Status check_given_codes(const Model& model);

}  // namespace onnxtool
