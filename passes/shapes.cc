#include "passes/shapes.h"

namespace onnxtool {

bool same_dim(const Dim& a, const Dim& b) {
  if (a.value || b.value) return a.value == b.value;
  return !a.symbol.empty() && a.symbol == b.symbol;
}

bool same_shape(const Value& a, const Value& b) {
  const auto &x = a.type().shape, &y = b.type().shape;
  if (!a.type().is_tensor() || !b.type().is_tensor() || !x || !y || x->size() != y->size())
    return false;
  for (size_t i = 0; i < x->size(); ++i)
    if (!same_dim((*x)[i], (*y)[i])) return false;
  return true;
}

bool same_rank(const Value& x, const Value& y) {
  return x.type().rank() && x.type().rank() == y.type().rank();
}

bool is_row_of(const Value& row, const Value& x) {
  const auto &shape = row.type().shape, &full = x.type().shape;
  return shape && full && shape->size() == 1 && !full->empty() && (*shape)[0].value &&
         same_dim((*shape)[0], full->back());
}

std::optional<std::vector<int64_t>> constant_ints(const Node& node, int input) {
  const Tensor* t = node.has_input(input) ? node.input(input).constant() : nullptr;
  if (!t || (t->dtype() != DataType::kInt64 && t->dtype() != DataType::kInt32)) return std::nullopt;
  return t->to_ints();
}

std::optional<std::vector<int64_t>> attribute_ints(const Node& node, std::string_view name) {
  const Attribute* a = node.attribute(name);
  const auto* v = a ? a->get<std::vector<int64_t>>() : nullptr;
  return v ? std::optional(*v) : std::nullopt;
}

std::optional<std::vector<int64_t>> ints_of(const Node& node, std::string_view attribute, int input,
                                            int since) {
  return node.opset() >= since ? constant_ints(node, input) : attribute_ints(node, attribute);
}

std::optional<std::vector<int64_t>> reshape_target(const ValueType& from, const ValueType& to,
                                                   std::optional<size_t> open) {
  if (!from.is_tensor() || !to.is_tensor() || !from.shape || !to.shape) return std::nullopt;
  std::vector<int64_t> target;
  int guessed = 0, copied = 0;
  std::optional<size_t> last;
  for (size_t i = 0; i < to.shape->size(); ++i) {
    const Dim& d = (*to.shape)[i];
    if (d.value) {
      if (*d.value <= 0) return std::nullopt;
      target.push_back(*d.value);
    } else if (i < from.shape->size() && same_dim((*from.shape)[i], d)) {
      target.push_back(0);
      ++copied;
    } else {
      target.push_back(-1);
      ++guessed;
      last = i;
    }
  }
  if (guessed > 1 || (guessed && copied && last != open)) return std::nullopt;
  return target;
}

}  // namespace onnxtool
