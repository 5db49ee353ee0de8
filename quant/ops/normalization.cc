// Normalizations with a scale and a bias for each channel or feature.
#include "quant/ops/normalization.h"

#include "quant/ops/handler.h"

namespace onnxtool {

const char* normalization_obstacle(const Node& node) {
  if (node.has_output(1) || node.has_output(2)) return "its means are read";
  const Tensor* scale = node.has_input(1) ? node.input(1).constant() : nullptr;
  if (!scale || scale->dtype() != DataType::kFloat || scale->rank() != 1)
    return "its scale is no constant row";
  if (!node.has_input(2)) return nullptr;
  const Tensor* bias = node.input(2).constant();
  if (!bias || bias->dtype() != DataType::kFloat || bias->rank() != 1 ||
      bias->count() != scale->count())
    return "its bias is no constant row";
  return nullptr;
}

constinit const OpHandler kInstanceNormalizationHandler{.op = "InstanceNormalization",
                                                        .weight_input = 1,
                                                        .bias_input = 2,
                                                        .weight_type = DataType::kUint8,
                                                        .obstacle = normalization_obstacle,
                                                        .qdq_only = true};
constinit const OpHandler kLayerNormalizationHandler{.op = "LayerNormalization",
                                                     .weight_input = 1,
                                                     .bias_input = 2,
                                                     .weight_type = DataType::kUint8,
                                                     .obstacle = normalization_obstacle,
                                                     .qdq_only = true};

}  // namespace onnxtool
