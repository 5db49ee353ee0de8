// The functions that RNN, GRU and LSTM may name for their gates.

#include <algorithm>
#include <cmath>

#include "calib/kernels/cpu/recurrent_node.h"
#include "libopt/support/ascii.h"

namespace onnxtool {
namespace {

using Kind = RecurrentActivation::Kind;

struct ActivationEntry {
  std::string_view name;
  Kind kind;
  bool has_alpha, has_beta;
  float alpha, beta;  // defaults
};
constexpr ActivationEntry kActivations[] = {
    {"Relu", Kind::kRelu, false, false, 0, 0},
    {"Tanh", Kind::kTanh, false, false, 0, 0},
    {"Sigmoid", Kind::kSigmoid, false, false, 0, 0},
    {"Affine", Kind::kAffine, true, true, 1, 0},
    {"LeakyRelu", Kind::kLeakyRelu, true, false, 0.01f, 0},
    {"ThresholdedRelu", Kind::kThresholdedRelu, true, false, 1, 0},
    {"ScaledTanh", Kind::kScaledTanh, true, true, 1, 1},
    {"HardSigmoid", Kind::kHardSigmoid, true, true, 0.2f, 0.5f},
    {"Elu", Kind::kElu, true, false, 1, 0},
    {"Softsign", Kind::kSoftsign, false, false, 0, 0},
    {"Softplus", Kind::kSoftplus, false, false, 0, 0},
};

/// Names are matched without regard to case: exporters write both "Tanh" and "tanh".
bool same_name(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, [](char x, char y) { return to_lower(x) == to_lower(y); });
}

}  // namespace

Result<std::vector<RecurrentActivation>> read_recurrent_activations(const NodeView& node,
                                                                    const RecurrentKind& kind,
                                                                    int64_t directions) {
  std::vector<RecurrentActivation> activations;
  const std::vector<std::string_view> names = node.attr_strings("activations");
  if (names.empty()) {
    for (int64_t d = 0; d < directions; ++d)
      for (const Kind k : kind.defaults) activations.push_back({.kind = k});
    return activations;
  }
  if (names.size() != static_cast<size_t>(directions) * kind.defaults.size())
    return bad_model("activations has " + std::to_string(names.size()) + " names, expected " +
                     std::to_string(static_cast<size_t>(directions) * kind.defaults.size()));
  // Each function that has a parameter takes the next of the list.
  const auto alphas = node.attr_floats("activation_alpha"),
             betas = node.attr_floats("activation_beta");
  size_t next_alpha = 0, next_beta = 0;
  for (const std::string_view wanted : names) {
    const auto* entry = std::ranges::find_if(
        kActivations, [&](const ActivationEntry& e) { return same_name(e.name, wanted); });
    if (entry == std::end(kActivations))
      return bad_model("activation '" + std::string(wanted) + "' is unknown");
    RecurrentActivation a{entry->kind, entry->alpha, entry->beta};
    if (entry->has_alpha && next_alpha < alphas.size()) a.alpha = alphas[next_alpha++];
    if (entry->has_beta && next_beta < betas.size()) a.beta = betas[next_beta++];
    activations.push_back(a);
  }
  return activations;
}

}  // namespace onnxtool
