#include "quant/weight_plan.h"

#include "libopt/ir/code_type.h"

namespace onnxtool {

WeightPlan plan_weight(const IntegerNode& layer, const QuantizeOptions& options, int opset) {
  const Tensor& tensor = *layer.node->input(layer.handler->weight_input).constant();
  const OverrideValues wished = options.overrides.of(*layer.node, layer.activation);
  WeightPlan plan;
  WeightOptions& o = plan.options;
  const DataType fixed = layer.handler->weight_type;
  o.type = fixed != DataType::kUndefined ? fixed : wished.weight_type.value_or(options.weight_type);
  o.symmetric = is_signed(o.type);
  // Kernels of u8 by u8 add in 32 bits everywhere.
  const bool saturates = options.target->adds_pairs && o.type == DataType::kInt8;
  o.reduced = saturates && options.ort_compat;
  if (saturates && !options.ort_compat) o.pairs = pair_order(*layer.node, tensor.dims());
  o.mse_clip = bits_of(o.type) == 4;
  o.ort_compat = options.ort_compat;
  const bool has_axis = options.per_channel || opset >= kPerChannelOpset;
  const bool by_channel = wished.per_channel.value_or(options.per_channel) && has_axis;
  if (by_channel && layer.handler->channel_axis) {
    plan.axis = layer.handler->channel_axis(*layer.node);
    // onnxruntime's quantizer: scales per channel have one zero point, in the middle.
    if (options.ort_compat && options.form == Form::kQdq) o.symmetric = true;
  }
  return plan;
}

PairReport expected_pairs(const Placement& placement, const QuantizeOptions& options, int opset) {
  PairReport report;
  if (!options.target->adds_pairs) return report;
  for (const IntegerNode& n : placement.nodes) {
    const int index = n.handler->weight_input;
    const Tensor* w =
        index >= 0 && n.node->has_input(index) ? n.node->input(index).constant() : nullptr;
    if (!w || w->dtype() != DataType::kFloat) continue;
    const WeightPlan plan = plan_weight(n, options, opset);
    if (!plan.options.pairs) continue;
    const auto q = quantize_weights(w->values<float>(), w->dims(), plan.axis, plan.options);
    if (q.ok()) report.add(*q);
  }
  return report;
}

}  // namespace onnxtool
