#include "passes/formula.h"

#include <cmath>

namespace onnxtool {
namespace {

// Deep enough for every form of Gelu; without bounds a chain of squares would take exponential
// time.
constexpr int kMaxDepth = 8, kMaxDegree = 4;

Polynomial add(const Polynomial& a, const Polynomial& b, double sign) {
  Polynomial sum = a;
  for (const auto& [power, c] : b) sum[power] += sign * c;
  return sum;
}

std::optional<Polynomial> multiply(const Polynomial& a, const Polynomial& b) {
  Polynomial product;
  for (const auto& [i, x] : a)
    for (const auto& [j, y] : b) {
      if (i + j > kMaxDegree) return std::nullopt;
      product[i + j] += x * y;
    }
  return product;
}

std::optional<Polynomial> polynomial_of(Pattern& p, const Value& value, const Value& x, int depth) {
  if (&value == &x) return Polynomial{{1, 1.0}};
  if (const auto c = scalar_of(value)) return Polynomial{{0, *c}};
  const Node* n = depth < kMaxDepth ? p.take(value, {"Add", "Sub", "Mul", "Div", "Pow"}) : nullptr;
  if (!n || n->opset() < 7 || n->num_inputs() != 2 || !n->has_input(0) || !n->has_input(1))
    return std::nullopt;
  const auto a = polynomial_of(p, n->input(0), x, depth + 1);
  if (!a) return std::nullopt;
  if (n->is("Div") || n->is("Pow")) {
    const auto c = scalar_of(n->input(1));
    if (!c) return std::nullopt;
    if (n->is("Div")) return multiply(*a, {{0, 1 / *c}});
    if (*c != 2 && *c != 3) return std::nullopt;
    const auto square = multiply(*a, *a);
    return *c == 2 || !square ? square : multiply(*square, *a);
  }
  const auto b = polynomial_of(p, n->input(1), x, depth + 1);
  if (!b) return std::nullopt;
  return n->is("Mul") ? multiply(*a, *b) : add(*a, *b, n->is("Add") ? 1 : -1);
}

void collect(Pattern& p, const Node& node, Product& product, int depth) {
  if (node.is("Div")) {
    const auto c = scalar_of(node.input(1));
    product.scale = c ? product.scale / *c : std::nan("");
  }
  for (int i = 0; i < (node.is("Div") ? 1 : 2); ++i) {
    const Value& v = node.input(i);
    if (const auto c = scalar_of(v)) {
      product.scale *= *c;
      continue;
    }
    const Node* inner = v.has_one_use() && depth < kMaxDepth ? v.producer() : nullptr;
    const bool apart = inner && ((inner->is("Mul") && inner->num_inputs() == 2) ||
                                 (inner->is("Div") && scalar_of(inner->input(1))));
    if (apart && p.take(v, {"Mul", "Div"}))
      collect(p, *inner, product, depth + 1);
    else
      product.factors.push_back(&v);
  }
}

}  // namespace

std::optional<Polynomial> polynomial_of(Pattern& p, const Value& value, const Value& x) {
  return polynomial_of(p, value, x, 0);
}

bool same_polynomial(const Polynomial& a, const Polynomial& b, DataType type) {
  // Constants are rounded to the type, and some exporters round what is computed from them once
  // more.
  const double tolerance = type == DataType::kFloat || type == DataType::kDouble ? 1e-6 : 2e-3;
  if (a.size() != b.size()) return false;
  for (const auto& [power, c] : a) {
    const auto other = b.find(power);
    if (other == b.end() || !(std::abs(c - other->second) <= tolerance * std::abs(c))) return false;
  }
  return true;
}

Product product_of(Pattern& p, const Node& node) {
  Product product;
  if (node.num_inputs() == 2 && node.has_input(0) && node.has_input(1))
    collect(p, node, product, 0);
  return product;
}

MatchOr<Gate> find_gate(Pattern& p, const Node& node, std::string_view f) {
  const Product product = product_of(p, node);
  if (product.factors.size() != 2) return no_match();
  for (size_t i = 0; i < 2; ++i) {
    const Node* sum = product.factors[i]->producer();
    const Value* inner = nullptr;
    if (!sum || !sum->is("Add") || scalar_operand(*sum, inner) != 1.0) continue;
    const Node* function = inner->producer();
    if (!function || !function->is(f) || !function->has_input(0) ||
        !p.take(*product.factors[i], {"Add"}) || !p.take(*inner, {f}))
      continue;
    if (product.scale != 0.5) return no_match("scale is not 1/2");
    const Value& x = *product.factors[1 - i];
    const auto argument = polynomial_of(p, function->input(0), x);
    if (!argument) return no_match("argument is no polynomial in the other factor");
    return Gate{&x, *argument};
  }
  return no_match();
}

}  // namespace onnxtool
