// What a model goes through before it is quantized: the user needs no extra step.
#pragma once

#include <string>
#include <vector>

#include "libopt/ir/model.h"
#include "quant/scheme.h"

namespace onnxtool {

struct Preparation {
  int64_t opset_before = 0, opset_after = 0;
  int64_t ir_before = 0, ir_after = 0;
  size_t nodes_before = 0, nodes_after = 0;
  std::vector<std::string> notes;  // what was changed, for the report
};

/// Initializers out of the graph inputs where the file is older than IR 4, weights out of them in
/// any file, the opset raised to what the scheme needs, constants folded, BatchNormalization into
/// the layer before it, equal nodes made one. The model computes the same as before.
/// Errors: nodes that cannot be converted, named.
Result<Preparation> prepare_model(Model& model, const QuantizeOptions& options);

}  // namespace onnxtool
