// What a value is in terms of another: polynomials and products, however their nodes are arranged.
#pragma once

#include <map>
#include <optional>
#include <string_view>
#include <vector>

#include "libopt/rewrite/match.h"
#include "libopt/rewrite/pattern.h"

namespace onnxtool {

/// Coefficients by power of x.
using Polynomial = std::map<int, double>;

/// What sums, products and powers with constant scalars make of x; nullopt: something else is in
/// it. The nodes are taken into the pattern.
std::optional<Polynomial> polynomial_of(Pattern& p, const Value& value, const Value& x);

/// Whether the two have the same coefficients, up to the rounding that constants of the type have.
bool same_polynomial(const Polynomial& a, const Polynomial& b, DataType type);

/// y = scale * factor * factor * ...
struct Product {
  double scale = 1;
  std::vector<const Value*> factors;
};

/// What a Mul, or a Div by a constant, multiplies: products that nothing else reads are taken
/// apart.
Product product_of(Pattern& p, const Node& node);

/// y = x / 2 * (1 + f(polynomial in x)): what Gelu and its approximation are.
struct Gate {
  const Value* x;
  Polynomial argument;
};

/// The gate whose last node `product` is; `f` is the operator between.
MatchOr<Gate> find_gate(Pattern& p, const Node& product, std::string_view f);

}  // namespace onnxtool
