// What a model goes through before it is quantized: the user needs no extra step.
#pragma once

#include <memory>
#include <set>
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
  /// Results of Sums of two that are Adds now.
  std::set<std::string> sums;
};

/// Sums again of those Adds that are not in `integer`: a file has them where an Add would be fused
/// with what slows it down.
void restore_sums(Graph& graph, const std::set<std::string>& sums,
                  const std::set<const Node*>& integer);

/// Initializers out of the graph inputs where the file is older than IR 4, weights out of them in
/// any file, the opset raised to what the scheme needs, constants folded, BatchNormalization into
/// the layer before it, equal nodes made one. Without ort_compat also: Sums of two are Adds,
/// Transposes around what stands between layers go, and activations stand behind the layers that
/// absorb them (quant/hoist_activations.h). The model computes the same as before, up to the
/// rounding of folded constants.
/// Errors: nodes that cannot be converted, named.
Result<Preparation> prepare_model(Model& model, const QuantizeOptions& options);

/// Of it, what methods without calibration need; without `fold` nothing is folded, and no weight is
/// read.
/// Calls of the model's functions are inlined, so that weights they are given are found.
/// least_opset: 0 for any. Errors as prepare_model(), and a lower opset with `no_opset_change`.
Result<Preparation> prepare_weights(std::unique_ptr<Model>& model, int least_opset,
                                    bool no_opset_change, bool fold = false);

}  // namespace onnxtool
