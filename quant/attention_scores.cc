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

// What makes an operand, up to layers and extents.
struct Origin {
  bool shuts_out = false;  // a constant that does has a part in it
  bool layer = false;      // or an input that layers read
  bool input = false;      // another one
};

bool is_layer(const Node& n) {
  const OpHandler* handler = find_handler(n);
  return handler && handler->role == Role::kCore;
}

Origin origin_of(const Value& operand) {
  std::vector<const Value*> open = {&operand};
  std::set<const Node*> seen;
  Origin origin;
  while (!open.empty()) {
    const Value& v = *open.back();
    open.pop_back();
    if (v.is_graph_input() && !v.constant()) {
      const auto reads = [](const Use& u) { return is_layer(*u.user); };
      (std::ranges::any_of(v.uses(), reads) ? origin.layer : origin.input) = true;
    }
    const Node* p = v.producer();
    if (!p || !seen.insert(p).second || p->is("Shape") || p->is("Size")) continue;
    if (is_layer(*p)) {
      origin.layer = true;
      continue;
    }
    // Theirs bound something, and are no part of it.
    const bool has_bounds = p->is("Clip") || p->is("Slice");
    for (const Value* input : p->inputs()) {
      if (!input) continue;
      if (const Tensor* t = input->constant(); t && !has_bounds) origin.shuts_out |= shuts_out(*t);
      open.push_back(input);
    }
  }
  return origin;
}

// What is added to, or what a Where picks from.
std::vector<const Value*> operands_of(const Node& node) {
  std::vector<const Value*> operands;
  for (int i = node.is("Where") ? 1 : 0; i < node.num_inputs(); ++i)
    if (node.has_input(i)) operands.push_back(&node.input(i));
  return operands;
}

// Whether an Add or Where puts a mask on one of its operands.
bool puts_mask(const Node& node, MaskRule rule) {
  if (node.is("Where") && rule == MaskRule::kAnythingAdded) return true;
  if (!node.is("Add") && !node.is("Where")) return false;
  const std::vector<const Value*> operands = operands_of(node);
  // A constant row that a layer adds is no mask, unless it shuts classes out.
  for (const Value* v : operands)
    if (const Tensor* t = v->constant(); t && node.is("Add") && t->count() > 0)
      return shuts_out(*t);
  if (rule == MaskRule::kAnythingAdded) return true;
  bool input = false, layer = false;
  for (const Value* v : operands) {
    if (const Tensor* t = v->constant(); t && shuts_out(*t)) return true;
    const Origin origin = origin_of(*v);
    if (origin.shuts_out) return true;
    input |= origin.input && !origin.layer;
    layer |= origin.layer;
  }
  return node.is("Add") && input && layer;
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
