#include "libopt/ort/fusion_records.h"

#include <algorithm>
#include <array>

namespace onnxtool {
namespace {

// What the runtime's ConvActivationFusion takes on its CPU provider; the bounds of a Clip must be
// constant.
bool is_activation(const Node& n) {
  constexpr std::array<std::string_view, 5> kPlain = {"Relu", "Sigmoid", "Tanh", "LeakyRelu",
                                                      "HardSigmoid"};
  if (!n.domain().empty()) return false;
  if (std::ranges::find(kPlain, n.op_type()) != kPlain.end()) return true;
  if (n.op_type() != "Clip") return false;
  for (int i = 1; i < n.num_inputs(); ++i)
    if (n.has_input(i) && !n.input(i).constant()) return false;
  return true;
}

const Node* fused_activation(const Node& conv) {
  if (!conv.is("Conv") || !conv.has_output(0) || conv.output(0).type().dtype != DataType::kFloat)
    return nullptr;
  const Value& y = conv.output(0);
  if (!y.has_one_use() || y.uses().empty()) return nullptr;
  const Node* user = y.uses()[0].user;
  return &user->graph() == &conv.graph() && y.uses()[0].index == 0 && is_activation(*user)
             ? user
             : nullptr;
}

}  // namespace

std::vector<OrtFusionRecord> find_ort_fusions(const Graph& graph) {
  std::vector<OrtFusionRecord> out;
  for (const Node& n : graph.nodes()) {
    if (const Node* activation = fused_activation(n))
      out.push_back({.optimizer = "ConvActivationFusion",
                     .action = "ConvAct",
                     .nodes = {&n, activation},
                     .outputs = 1,
                     .domain = "com.microsoft",
                     .op_type = "FusedConv"});
    n.for_each_subgraph([&](const Graph& sub) {
      for (const OrtFusionRecord& f : find_ort_fusions(sub)) out.push_back(f);
    });
  }
  return out;
}

}  // namespace onnxtool
