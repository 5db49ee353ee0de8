// The standard's schemas for onnx's own functions that look one up.
#pragma once

#include "onnx/defs/schema.h"

namespace onnxtool::seam {

/// What standard_schema() finds, behind onnx's interface. Lives as long as the process.
const onnx::ISchemaRegistry& standard_schemas();

}  // namespace onnxtool::seam
