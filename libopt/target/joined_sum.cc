#include "libopt/target/joined_sum.h"

#include <algorithm>
#include <vector>

namespace onnxtool {
namespace {

using Shape = std::vector<Dim>;

const Shape* shape_of(const Value& v) { return v.type().shape ? &*v.type().shape : nullptr; }

// Known to be equal: extents, or their names.
bool same(const Dim& a, const Dim& b) {
  return a.value ? b.value == a.value : !b.value && !a.symbol.empty() && a.symbol == b.symbol;
}

const Node* producer(const Node* n, std::string_view op) {
  const Node* p = n && n->has_input(0) ? n->input(0).producer() : nullptr;
  return p && p->is(op) ? p : nullptr;
}

bool is_sum_of_two(const Node& n) {
  return n.is("Add") && n.num_inputs() == 2 && n.has_input(0) && n.has_input(1);
}

// The product behind attention.
bool reads_attention(const Node& product) {
  const Node* p = product.input(0).producer();
  if (p && (p->op_type() == "Attention" || p->op_type() == "MultiHeadAttention")) return true;
  const Node* values = producer(producer(producer(&product, "Reshape"), "Transpose"), "MatMul");
  return producer(values, "Softmax") != nullptr;
}

// Of attention behind a normalization whose result goes around it: the last sum before both meet.
// nullptr: there is no attention behind `normalization`.
const Node* attention_end(const Node& normalization) {
  if (!normalization.has_output(0)) return nullptr;
  const Value& v = normalization.output(0);
  size_t sums = 0, products = 0, shapes = 0;
  const Node* meeting = nullptr;
  for (const Use& u : v.uses()) {
    if (is_sum_of_two(*u.user)) ++sums, meeting = u.user;
    products += u.user->is("MatMul");
    shapes += u.user->is("Shape");
  }
  if (sums != 1 || products != 3 || shapes + 4 != v.uses().size()) return nullptr;
  const Node* end = meeting->input(&meeting->input(0) == &v ? 1 : 0).producer();
  return end && end->is("Add") ? end : nullptr;
}

// Products of attention stay apart for the fusion that makes one operator of all of it.
bool belongs_to_attention(const Node& product, const Node& sum) {
  const Node* before = product.input(0).producer();
  if (before && before->is("LayerNormalization") && attention_end(*before)) return true;
  for (const Use& u : sum.output(0).uses()) {
    if (!is_sum_of_two(*u.user)) continue;
    const Node* other = u.user->input(1 - u.index).producer();
    if (other && other->is("LayerNormalization") && attention_end(*other) == &sum) return true;
  }
  return false;
}

bool is_known(const Shape& shape) {
  return std::ranges::all_of(shape, [](const Dim& d) { return d.value.has_value(); });
}

// Whether Gemm takes it beside [M, N], from x [M, K] and w [K, N].
bool fits(const Shape& addend, const Shape& x, const Shape& w) {
  if (addend.size() == 1) return same(addend[0], w[1]);
  if (addend.size() != 2 || x.size() != 2) return false;
  const auto one = [](const Dim& d) { return d.value == 1; };
  if (one(addend[0]) && same(addend[1], w[1])) return true;
  return same(addend[0], x[0]) && (one(addend[1]) || same(addend[1], w[1]));
}

}  // namespace

Node* joined_sum(const Node& product) {
  if (!product.is("MatMul") || product.num_inputs() != 2 || !product.has_input(0) ||
      !product.has_input(1) || !product.has_output(0))
    return nullptr;
  const Value& out = product.output(0);
  if (!out.has_one_use() || out.is_graph_output()) return nullptr;
  Node& sum = *out.uses()[0].user;
  if (!is_sum_of_two(sum) || sum.opset() < 7 || &sum.graph() != &product.graph() ||
      !sum.has_output(0))
    return nullptr;
  const DataType type = product.input(0).type().dtype;
  if (type != DataType::kFloat && type != DataType::kFloat16 && type != DataType::kBfloat16)
    return nullptr;
  const Shape* x = shape_of(product.input(0));
  const Shape* w = shape_of(product.input(1));
  const Shape* addend = shape_of(sum.input(1 - out.uses()[0].index));
  if (!x || !w || !addend || w->size() != 2 || !fits(*addend, *x, *w)) return nullptr;
  if (x->size() == 2) return &sum;
  // It reshapes the operand to a matrix and the result back.
  if (!is_known(*x) || !is_known(*w) || reads_attention(product) ||
      belongs_to_attention(product, sum))
    return nullptr;
  return &sum;
}

}  // namespace onnxtool
