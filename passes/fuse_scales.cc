// Makes one multiplication of two by constant numbers, one after the other.
//
//   y = Op2(Op1(x, a), b)     Op1 and Op2 each Mul (in either order of inputs) or Div
//     =>
//   y = Mul(x, c)             c is a * b, b / a or a / b; Div(x, a * b) where both divide
//
// Does not fire: the result between is used elsewhere; a or b has more than one element, or is zero
// or not finite; integers, which wrap around between, or are cut off; x may have fewer axes than y;
// the first number is above 1 and the second below, so that what is between may overflow where
// the product does not, or the first is so small that it may underflow; c is no normal number of
// the type. Numerics: products and the quotient in double, then rounded to the type. Source: ONNX
// Mul-7, Div-7.

#include <algorithm>
#include <cmath>

#include "libopt/rewrite/pattern.h"
#include "passes/layer.h"
#include "passes/pass.h"
#include "passes/shapes.h"

namespace onnxtool {
namespace {

struct Match {
  const Node& second;
  const Value& x;
  bool divides;
  double number;
};

// Ordinary numbers range over some 2^20: a product with less than this may lose bits of them.
double least_factor(DataType dtype) { return std::max(0x1p-20, smallest_normal(dtype) * 0x1p20); }

// What the node multiplies x by, and what it divides it by; one of both is 1.
struct Scale {
  double up = 1, down = 1;

  double size() const { return std::abs(up / down); }
};

// nullopt: the node does something else.
std::optional<Scale> scale_of(const Node& node, const Value*& x) {
  if (!node.is("Mul") && !node.is("Div")) return std::nullopt;
  const auto number = scalar_operand(node, x);
  if (!number || (node.is("Div") && x != &node.input(0))) return std::nullopt;
  return node.is("Div") ? Scale{1, *number} : Scale{*number, 1};
}

MatchOr<Match> match(const Node& second) {
  const Value *between = nullptr, *x = nullptr;
  const auto after = scale_of(second, between);
  if (!after || !between->producer() || !second.has_output(0)) return no_match();
  const Node& first = *between->producer();
  const auto before = scale_of(first, x);
  if (!before || &first.graph() != &second.graph()) return no_match();
  if (second.opset() < 7) return no_match("opset below 7 broadcasts by attribute");
  if (!between->has_one_use()) return no_match("the result between has another use");
  const DataType dtype = second.output(0).type().dtype;
  if (!is_float(dtype)) return no_match("numbers are integers");
  if (!same_rank(*x, second.output(0))) return no_match(kMayEnlarge);
  if (before->size() > 1 && after->size() < 1) return no_match("the result between may overflow");
  if (before->size() < least_factor(dtype) && after->size() > 1)
    return no_match("the result between may underflow");
  const bool divides = first.is("Div") && second.is("Div");
  const double up = before->up * after->up, down = before->down * after->down;
  const double exact = up / down, wanted = divides ? down : exact;
  if (!std::isfinite(exact) || !std::isfinite(wanted)) return no_match("a number is not finite");
  const double number = round_to(dtype, {}, {wanted}).to_doubles()[0];
  if (!std::isfinite(number) || std::abs(number) < smallest_normal(dtype))
    return no_match("the product is no normal number of the type");
  return Match{second, *x, divides, wanted};
}

void rewrite(const Match& m, Rewriter& rw) {
  const Value& y = m.second.output(0);
  Value& number = rw.add_constant(round_to(y.type().dtype, {}, {m.number}), y.name() + "_scale");
  rw.set_op(m.second, m.divides ? "Div" : "Mul");
  rw.set_input(m.second, 0, &m.x);
  rw.set_input(m.second, 1, &number);
}

}  // namespace

constinit const PassInfo kFuseScales{
    .name = "fuse-scales",
    .summary = "multiply once by the product of two constant numbers",
    .roots = {"Mul", "Div"},
    .level = Level::kBasic,
    .exactness = Exactness::kRounding,
    .run = run_rule<match, rewrite>};
}  // namespace onnxtool
