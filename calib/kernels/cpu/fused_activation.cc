#include <limits>

#include "calib/kernels/cpu/epilogue.h"

namespace onnxtool {

Result<std::vector<EpilogueOp>> fused_activation(const NodeView& node) {
  using Kind = EpilogueOp::Kind;
  const std::string_view name = node.attr_string("activation", "");
  if (name.empty()) return std::vector<EpilogueOp>{};
  const auto params = node.attr_floats("activation_params");
  const auto param = [&](size_t i, std::string_view attribute, float fallback) {
    return i < params.size() ? params[i] : node.attr_float(attribute, fallback);
  };
  EpilogueOp op{.kind = Kind::kRelu};
  if (name == "LeakyRelu") {
    op = {.kind = Kind::kLeakyRelu, .alpha = param(0, "activation_alpha", 0.01f)};
  } else if (name == "Clip") {
    op = {.kind = Kind::kClip,
          .alpha = param(0, "activation_min", std::numeric_limits<float>::lowest()),
          .beta = param(1, "activation_max", std::numeric_limits<float>::max())};
  } else if (name == "HardSigmoid") {
    op = {.kind = Kind::kHardSigmoid,
          .alpha = param(0, "activation_alpha", 0.2f),
          .beta = param(1, "activation_beta", 0.5f)};
  } else if (name == "Sigmoid") {
    op = {.kind = Kind::kSigmoid};
  } else if (name == "Tanh") {
    op = {.kind = Kind::kTanh};
  } else if (name == "HardSwish") {
    op = {.kind = Kind::kHardSwish};
  } else if (name != "Relu") {
    return kernel_error(
        ErrorCode::kUnsupported,
        "activation is '" + std::string(name) +
            "', expected Relu, LeakyRelu, Clip, HardSigmoid, HardSwish, Sigmoid or Tanh");
  }
  return std::vector<EpilogueOp>{op};
}

}  // namespace onnxtool
