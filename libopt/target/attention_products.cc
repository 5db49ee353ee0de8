#include "libopt/target/attention_products.h"

#include <optional>

namespace onnxtool {
namespace {

bool moves(const Node& n) {
  return n.is("Reshape") || n.is("Transpose") || n.is("Unsqueeze") || n.is("Squeeze");
}

// The one input of an elementwise node that is not constant; nullptr: there are two, or none.
const Value* only_variable(const Node& n) {
  const Value* found = nullptr;
  for (const Value* v : n.inputs()) {
    if (!v || v->constant()) continue;
    if (found) return nullptr;
    found = v;
  }
  return found;
}

// The product with constant weights that `v` is of, past biases, scales and moves.
const Node* projection_of(const Value& v) {
  for (const Value* at = &v; const Node* n = at->producer();) {
    if ((n->is("MatMul") || n->is("Gemm")) && n->has_input(1) && n->input(1).constant()) return n;
    if (moves(*n) && n->has_input(0))
      at = &n->input(0);
    else if (n->is("Add") || n->is("Mul") || n->is("Div"))
      at = only_variable(*n);
    else
      return nullptr;
    if (!at) return nullptr;
  }
  return nullptr;
}

// What a projection reads, before it was made a matrix.
const Value* source_of(const Node& projection) {
  const Value* v = &projection.input(0);
  while (v->producer() && v->producer()->is("Reshape")) v = &v->producer()->input(0);
  return v;
}

// The MatMul of which `v` is a multiple; nullptr: it is of none.
const Node* scaled_product(const Value& v) {
  for (const Value* at = &v; at && at->producer();) {
    const Node& n = *at->producer();
    if (n.is("MatMul")) return &n;
    if (!n.is("Div") && !n.is("Mul")) return nullptr;
    at = only_variable(n);
  }
  return nullptr;
}

// The MatMul whose result `softmax` reads, scaled and masked; nullptr without a mask.
const Node* masked_scores(const Node& softmax) {
  const Node* mask = softmax.input(0).producer();
  if (!mask || !(mask->is("Add") || mask->is("Where"))) return nullptr;
  if (mask->is("Add") && only_variable(*mask)) return nullptr;
  for (const Value* v : mask->inputs())
    if (const Node* scores = v ? scaled_product(*v) : nullptr) return scores;
  return nullptr;
}

std::optional<AttentionProducts> products_of(const Node& softmax) {
  AttentionProducts a;
  a.scores = masked_scores(softmax);
  if (!a.scores || !softmax.output(0).has_one_use()) return std::nullopt;
  const Use use = softmax.output(0).uses()[0];
  if (!use.user->is("MatMul") || use.index != 0) return std::nullopt;
  a.values = use.user;
  a.projections = {projection_of(a.scores->input(0)), projection_of(a.scores->input(1)),
                   projection_of(a.values->input(1))};
  for (const Node* p : a.projections)
    if (!p || source_of(*p) != source_of(*a.projections[0])) return std::nullopt;
  return a;
}

}  // namespace

std::vector<AttentionProducts> find_attention_products(const Graph& graph) {
  std::vector<AttentionProducts> out;
  for (const Node& n : graph.nodes())
    if (n.is("Softmax") && n.has_input(0) && n.has_output(0))
      if (auto found = products_of(n)) out.push_back(*found);
  return out;
}

}  // namespace onnxtool
