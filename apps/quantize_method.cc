#include "apps/quantize_method.h"

#include "apps/quantize_mode.h"
#include "calib/data/model_inputs.h"

namespace onnxtool {

Result<std::unique_ptr<QuantizeMethod>> make_method(const QuantizeFlags& flags) {
  ONNXTOOL_ASSIGN(const QuantizeMode mode, quantize_mode(flags));
  if (mode == QuantizeMode::kDynamic) return make_dynamic_method(flags);
  if (mode == QuantizeMode::kWeightOnly) return make_weight_only_method(flags);
  if (mode == QuantizeMode::kHalf) return make_half_method(flags);
  if (mode == QuantizeMode::kForm) return make_form_method(flags);
  return make_static_method(flags);
}

std::map<std::string, std::vector<int64_t>> shapes_of_first(const Model& model,
                                                            const SampleSource& source) {
  std::map<std::string, std::vector<int64_t>> shapes;
  const auto specs = input_specs(model);
  const auto sample = source.read(0);
  if (!specs.ok() || !sample.ok()) return shapes;
  for (size_t i = 0; i < specs->size() && i < sample->inputs.size(); ++i)
    shapes[(*specs)[i].name] = sample->inputs[i].dims();
  return shapes;
}

}  // namespace onnxtool
