#include "quant/attention_scores.h"

#include <algorithm>
#include <vector>

#include "quant/ops/handler.h"

namespace onnxtool {
namespace {

bool is_elementwise(const Node& n) {
  return n.is("Add") || n.is("Where") || n.is("Mul") || n.is("Div") || n.is("Sub");
}

bool shuts_out(const Tensor& constant) {
  return constant.dtype() != DataType::kString && constant.count() > 0 &&
         std::ranges::min(constant.to_doubles()) < kMaskLevel;
}

// Whether arithmetic with a constant that shuts elements out makes it, or no layer has a part in
// it: then it comes from an input that says what to attend to, or from positions.
bool may_be_mask(const Value& operand) {
  std::vector<const Value*> open = {&operand};
  std::set<const Node*> seen;
  bool of_layer = false;
  while (!open.empty()) {
    const Node* p = open.back()->producer();
    open.pop_back();
    if (!p || !seen.insert(p).second) continue;
    const OpHandler* handler = find_handler(*p);
    if (handler && handler->role == Role::kCore) {
      of_layer = true;
      continue;
    }
    for (const Value* v : p->inputs()) {
      if (!v) continue;
      const Tensor* constant = v->constant();
      if (constant && is_elementwise(*p) && shuts_out(*constant)) return true;
      open.push_back(v);
    }
  }
  return !of_layer;
}

// Whether an Add or Where puts a mask on one of its operands.
bool puts_mask(const Node& node, MaskRule rule) {
  if (node.is("Where") && rule == MaskRule::kAnythingAdded) return true;
  if (!node.is("Add") && !node.is("Where")) return false;
  const std::vector<const Value*> operands = [&] {
    std::vector<const Value*> data;
    for (int i = node.is("Where") ? 1 : 0; i < node.num_inputs(); ++i)
      if (node.has_input(i)) data.push_back(&node.input(i));
    return data;
  }();
  // A constant row that a layer adds is no mask, unless it shuts classes out.
  bool any_constant = false;
  for (const Value* v : operands) {
    const Tensor* constant = v->constant();
    if (!constant || constant->count() == 0) continue;
    if (shuts_out(*constant)) return true;
    any_constant = true;
  }
  if (any_constant) return false;
  return rule == MaskRule::kAnythingAdded ||
         std::ranges::any_of(operands, [](const Value* v) { return may_be_mask(*v); });
}

}  // namespace

// Scores of attention stay float from the product on: a mask of -3.4e38 under one scale with the
// scores would erase them. Everything between the producing MatMul and a Softmax is marked.
void mark_scores(const Node& softmax, std::set<const Node*>& marked, MaskRule rule) {
  std::vector<const Value*> open = {&softmax.input(0)};
  std::vector<const Node*> between;
  bool masked = false;
  while (!open.empty()) {
    const Node* p = open.back()->producer();
    open.pop_back();
    if (!p || std::find(between.begin(), between.end(), p) != between.end()) continue;
    const bool moves = p->is("Reshape") || p->is("Transpose") || p->is("Cast") ||
                       p->is("Unsqueeze") || p->is("Expand");
    if (!is_elementwise(*p) && !moves) continue;
    masked |= puts_mask(*p, rule);
    between.push_back(p);
    for (const Value* v : p->inputs())
      if (v) open.push_back(v);
  }
  if (!masked) return;
  marked.insert(&softmax);
  marked.insert(between.begin(), between.end());
}

}  // namespace onnxtool
