#include "quant/coded_nodes.h"

#include <algorithm>
#include <unordered_set>

#include "quant/half_reasons.h"
#include "quant/ops/handler.h"
#include "quant/placement.h"

namespace onnxtool {
namespace {

// Of any domain: com.microsoft has them as well.
bool quantizes(const Node& n) { return n.op_type() == "QuantizeLinear"; }
bool dequantizes(const Node& n) { return n.op_type() == "DequantizeLinear"; }

}  // namespace

std::set<const Node*> coded_nodes(const std::vector<Node*>& nodes) {
  std::unordered_set<const Value*> from, to;  // values of codes: by what makes, by what reads them
  for (auto it = nodes.rbegin(); it != nodes.rend(); ++it) {
    const Node& n = **it;
    if (!n.has_input(0) || !n.has_output(0)) continue;
    if (quantizes(n) || ((moves_elements(n) || is_activation(n)) && to.contains(&n.output(0))))
      to.insert(&n.input(0));
  }
  std::set<const Node*> out;
  for (const Node* node : nodes) {
    const Node& n = *node;
    if (!n.has_input(0) || quantizes(n)) continue;
    if (dequantizes(n) || (moves_elements(n) && from.contains(&n.input(0)))) {
      for (const Value* v : n.outputs())
        if (v) from.insert(v);
      if (!dequantizes(n)) out.insert(&n);
      continue;
    }
    const auto is_to = [&](const Value* v) { return v && to.contains(v); };
    const auto is_from = [&](const Value* v) { return v && from.contains(v); };
    const bool written = std::ranges::any_of(n.outputs(), is_to);
    const Node* before = n.input(0).producer();
    const bool between = written && (std::ranges::any_of(n.inputs(), is_from) ||
                                     (is_activation(n) && before && out.contains(before)));
    const bool weighted = is_half_core(n) && n.has_input(1) && from.contains(&n.input(1));
    if (between || weighted) out.insert(&n);
  }
  return out;
}

}  // namespace onnxtool
