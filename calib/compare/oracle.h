// A float model computed in double precision: what rounding is measured against.
#pragma once

#include "libopt/ir/model.h"
#include "libopt/support/status.h"

namespace onnxtool {

/// The model with every float32 type (inputs, constants, Cast targets, attributes that name a type)
/// replaced by double; float16 and bfloat16 likewise. Shares no weights with the original. Errors:
/// operators that take no doubles.
Result<std::unique_ptr<Model>> in_double_precision(const Model& model);

}  // namespace onnxtool
