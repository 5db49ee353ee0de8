#include "passes/normalization.h"

#include <algorithm>

#include "passes/shapes.h"

namespace onnxtool {
namespace {

// What the value is 1 over the root of.
const Value* under_inverse_root(Pattern& p, const Value& value) {
  const Node* n = p.take(value, {"Reciprocal", "Pow", "Div"});
  if (!n || !n->has_input(0)) return nullptr;
  if (n->is("Pow")) return n->has_input(1) && is_scalar(n->input(1), -0.5) ? &n->input(0) : nullptr;
  if (n->is("Div") && !(n->has_input(1) && is_scalar(n->input(0), 1))) return nullptr;
  const Node* root = p.take(n->input(n->is("Div") ? 1 : 0), {"Sqrt"});
  return root && root->has_input(0) ? &root->input(0) : nullptr;
}

// x, and what its mean square plus epsilon is; `y` is their quotient.
struct Quotient {
  const Value *x = nullptr, *square = nullptr;
};

Quotient quotient_of(Pattern& p, const Value& y) {
  const Node* last = p.take(y, {"Div", "Mul"});
  if (!last || last->num_inputs() != 2 || !last->has_input(0) || !last->has_input(1)) return {};
  if (last->is("Div")) {
    const Node* root = p.take(last->input(1), {"Sqrt", "Pow"});
    if (!root || !root->has_input(0) ||
        (root->is("Pow") && !(root->has_input(1) && is_scalar(root->input(1), 0.5))))
      return {};
    return {&last->input(0), &root->input(0)};
  }
  for (int i = 0; i < 2; ++i) {
    const Node* maker = last->input(i).producer();
    if (!maker || !(maker->is("Reciprocal") || maker->is("Pow") || maker->is("Div"))) continue;
    if (const Value* square = under_inverse_root(p, last->input(i)))
      return {&last->input(1 - i), square};
  }
  return {};
}

bool squares(Pattern& p, const Value& value, const Value& x) {
  const Node* n = p.take(value, {"Pow", "Mul"});
  if (!n || n->num_inputs() != 2 || !n->has_input(0) || !n->has_input(1) || &n->input(0) != &x)
    return false;
  return n->is("Pow") ? is_scalar(n->input(1), 2) : &n->input(1) == &x;
}

}  // namespace

std::optional<int64_t> trailing_axis(const Node& mean) {
  if (!mean.is("ReduceMean") || mean.attr<int64_t>("keepdims", 1) == 0 || !mean.has_input(0))
    return std::nullopt;
  auto axes = ints_of(mean, "axes", 1, 18);
  if (!axes || axes->empty()) return std::nullopt;
  const auto rank = mean.input(0).type().rank();
  for (int64_t& a : *axes) {
    if (a >= 0 && !rank) return std::nullopt;
    if (a >= 0) a -= *rank;
  }
  std::ranges::sort(*axes);
  for (size_t i = 0; i < axes->size(); ++i)
    if ((*axes)[i] != static_cast<int64_t>(i) - static_cast<int64_t>(axes->size()))
      return std::nullopt;
  return axes->front();
}

MatchOr<Normalized> find_normalized(Pattern& p, const Value& y) {
  const Quotient q = quotient_of(p, y);
  if (!q.x) return no_match();
  const Node* sum = p.take(*q.square, {"Add"});
  const Value* mean = nullptr;
  const auto epsilon = sum ? scalar_operand(*sum, mean) : std::nullopt;
  const Node* average = epsilon ? p.take(*mean, {"ReduceMean"}) : nullptr;
  if (!average || !average->has_input(0) || !squares(p, average->input(0), *q.x)) return no_match();
  const auto axis = trailing_axis(*average);
  if (!axis) return no_match("mean is not over the last axes");
  if (!(*epsilon >= 0)) return no_match("epsilon is negative");
  return Normalized{q.x, *axis, static_cast<float>(*epsilon)};
}

bool fits_axes(const Value& value, const Value& x, int64_t axis) {
  const auto &shape = value.type().shape, &full = x.type().shape;
  if (!shape || !full || static_cast<int64_t>(shape->size()) != -axis ||
      full->size() < shape->size())
    return false;
  for (size_t i = 0; i < shape->size(); ++i)
    if ((*shape)[i].value.value_or(0) == 0 ||
        !same_dim((*shape)[i], (*full)[full->size() - shape->size() + i]))
      return false;
  return true;
}

}  // namespace onnxtool
