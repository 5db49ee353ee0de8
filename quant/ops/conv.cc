// Conv and ConvTranspose.
#include "quant/ops/handler.h"

namespace onnxtool {
namespace {

const char* obstacle(const Node& node) {
  const Tensor* w = node.has_input(1) ? node.input(1).constant() : nullptr;
  if (!w)
    return node.input(1).is_graph_input() ? "the weight is a graph input that callers may override"
                                          : "the weight is not constant";
  if (w->dtype() != DataType::kFloat) return "the weight is not float32";
  if (node.has_input(2) && !node.input(2).constant()) return "the bias is not constant";
  return nullptr;
}

// W: [C_out, C_in / group, k...]
std::optional<int64_t> conv_axis(const Node&) { return 0; }

// W: [C_in, C_out / group, k...]: with groups, axis 1 is no output channel of its own.
std::optional<int64_t> transpose_axis(const Node& node) {
  if (node.attr<int64_t>("group", 1) != 1) return std::nullopt;
  return 1;
}

}  // namespace

constinit const OpHandler kConvHandler{.op = "Conv",
                                       .role = Role::kCore,
                                       .weight_input = 1,
                                       .bias_input = 2,
                                       .channel_axis = conv_axis,
                                       .obstacle = obstacle};
constinit const OpHandler kConvTransposeHandler{.op = "ConvTranspose",
                                                .role = Role::kCore,
                                                .weight_input = 1,
                                                .bias_input = 2,
                                                .channel_axis = transpose_axis,
                                                .obstacle = obstacle};

}  // namespace onnxtool
