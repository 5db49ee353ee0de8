// What a runtime will make of an optimized model when it loads it.
#pragma once

#include "apps/report/report.h"
#include "libopt/rewrite/rule.h"

namespace onnxtool {

/// Operators that onnxruntime's CPU provider has beside the standard's, in the model as it is and
/// as the runtime is predicted to fuse it: by our own passes of level extended, which do what it
/// does.
Section predicted_fusions(const Model& model, const PassContext& context);

}  // namespace onnxtool
