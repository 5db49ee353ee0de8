#include "libopt/rewrite/pattern.h"

#include <algorithm>
#include <cmath>

#include "libopt/analysis/statistics.h"

namespace onnxtool {

std::optional<double> scalar_of(const Value& value) {
  const Tensor* t = value.constant();
  if (!t || t->count() != 1 || t->dtype() == DataType::kBool || !has_statistics(t->dtype()))
    return std::nullopt;
  return t->to_doubles()[0];
}

bool is_scalar(const Value& value, double number, double tolerance) {
  const auto held = scalar_of(value);
  return held && std::abs(*held - number) <= tolerance * std::abs(number);
}

std::optional<double> scalar_operand(const Node& node, const Value*& x) {
  if (node.num_inputs() != 2 || !node.has_input(0) || !node.has_input(1)) return std::nullopt;
  for (int i = 1; i >= 0; --i)
    if (const auto held = scalar_of(node.input(i))) {
      x = &node.input(1 - i);
      return held;
    }
  return std::nullopt;
}

const Node* only_reader(const Value& value) {
  if (!value.has_one_use() || value.is_graph_output()) return nullptr;
  const Node* reader = value.uses()[0].user;
  return &reader->graph() == &value.graph() ? reader : nullptr;
}

bool reads_dequantized(const Node& node) {
  return std::ranges::any_of(node.inputs(), [](const Value* v) {
    return v && v->producer() && v->producer()->op_type() == "DequantizeLinear";
  });
}

const Node* Pattern::take_any(const Value& value, Ops ops) {
  const Node* node = value.producer();
  if (!node || &node->graph() != &last_.graph() ||
      std::ranges::find(ops, node->op_type()) == ops.end())
    return nullptr;
  if (!holds(node)) taken_.push_back(node);
  return node;
}

const Node* Pattern::take(const Value& value, Ops ops) {
  const Node* node = value.producer();
  return node && node->domain().empty() ? take_any(value, ops) : nullptr;
}

const Node* Pattern::take_either(const Node& node, Ops ops, const Value*& other) {
  if (node.num_inputs() != 2 || !node.has_input(0) || !node.has_input(1)) return nullptr;
  for (int i = 0; i < 2; ++i)
    if (const Node* found = take(node.input(i), ops)) {
      other = &node.input(1 - i);
      return found;
    }
  return nullptr;
}

bool Pattern::closed() const {
  return std::ranges::all_of(taken_, [&](const Node* node) {
    return std::ranges::all_of(node->outputs(), [&](const Value* v) {
      return !v || (!v->is_graph_output() && std::ranges::all_of(v->uses(), [&](const Use& u) {
        return u.user == &last_ || holds(u.user);
      }));
    });
  });
}

bool Pattern::holds(const Node* node) const {
  return std::ranges::find(taken_, node) != taken_.end() ||
         std::ranges::find(results_, node) != results_.end();
}

}  // namespace onnxtool
