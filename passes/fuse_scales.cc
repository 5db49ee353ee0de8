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
// the type. Numerics: c in double, rounded once. Source: ONNX Mul-7, Div-7.

#include <cfloat>
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

// Below it a product of ordinary numbers, which range over some 2^20, may lose bits.
constexpr double kTiny = 0x1p-20;

double smallest_normal(DataType dtype) {
  if (dtype == DataType::kFloat16) return 0x1p-14;
  return dtype == DataType::kDouble ? DBL_MIN : FLT_MIN;
}

// By which the node multiplies x; nullopt: it does something else.
std::optional<double> scale_of(const Node& node, const Value*& x) {
  if (!node.is("Mul") && !node.is("Div")) return std::nullopt;
  const auto number = scalar_operand(node, x);
  if (!number || (node.is("Div") && x != &node.input(0))) return std::nullopt;
  return node.is("Div") ? 1 / *number : *number;
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
  if (std::abs(*before) > 1 && std::abs(*after) < 1)
    return no_match("the result between may overflow");
  if (std::abs(*before) < kTiny && std::abs(*after) > 1)
    return no_match("the result between may underflow");
  const bool divides = first.is("Div") && second.is("Div");
  const double exact = *before * *after, wanted = divides ? 1 / exact : exact;
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
