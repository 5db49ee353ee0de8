// Removes arithmetic with a constant that changes nothing.
//
//   x * 1, 1 * x, x / 1, x ^ 1, x - 0, x + 0, x and true, x or false
//     =>
//   x
//
// Exact, so with the signs of zeros: x + 0 goes for integers, and for floats where the zero is -0
// (-0 + 0 is +0); x - 0 where the zero is +0. Does not fire: a floating constant of several
// elements, which is a layer's weight that happens to be neutral (runtimes look for it where they
// fuse normalizations); the constant is not the neutral element everywhere; it gives the result
// more axes or larger extents than x has, or might; opsets below 7, whose broadcasting is another.
// Source: IEEE 754-2019, 6.3 (signs); ONNX Add-7, Mul-7, Div-7, Sub-7, Pow-7, And-7, Or-7.

#include <algorithm>
#include <cmath>

#include "passes/forward.h"
#include "passes/pass.h"
#include "passes/shapes.h"

namespace onnxtool {
namespace {

struct Match {
  const Node& node;
  const Value& x;
};

// Tensors with more elements are no neutral elements but weights.
constexpr int64_t kMaxElements = 4096;

bool is_neutral(const Node& n, const Tensor& t) {
  if (t.dtype() == DataType::kString || t.count() == 0 || t.count() > kMaxElements ||
      bits_of(t.dtype()) < 8)
    return false;
  const std::vector<double> values = t.to_doubles();
  const auto all = [&](auto&& holds) { return std::ranges::all_of(values, holds); };
  if (n.is("Mul") || n.is("Div") || n.is("Pow")) return all([](double v) { return v == 1; });
  if (n.is("And")) return all([](double v) { return v != 0; });
  if (n.is("Or")) return all([](double v) { return v == 0; });
  const bool wants_minus = n.is("Add") && is_float(t.dtype());
  return all(
      [&](double v) { return v == 0 && (!is_float(t.dtype()) || std::signbit(v) == wants_minus); });
}

bool is_weight(const Tensor& t) { return is_float(t.dtype()) && t.count() > 1; }

bool keeps_shape(const Value& x, const Tensor& t, const Value& y) {
  if (t.rank() == 0) return true;
  if (same_shape(x, y)) return true;
  return t.count() == 1 && x.type().rank() && t.rank() <= *x.type().rank();
}

MatchOr<Match> match(const Node& node) {
  if (node.num_inputs() != 2 || !node.has_input(0) || !node.has_input(1) || !node.has_output(0))
    return no_match();
  const bool commutes = !node.is("Div") && !node.is("Sub") && !node.is("Pow");
  for (int i = commutes ? 0 : 1; i < 2; ++i) {
    const Tensor* t = node.input(i).constant();
    if (!t || !is_neutral(node, *t)) continue;
    const Value& x = node.input(1 - i);
    if (is_weight(*t)) return no_match("a layer's weight that happens to be neutral");
    if (node.opset() < 7) return no_match("opset below 7 broadcasts by attribute");
    if (!keeps_shape(x, *t, node.output(0))) return no_match("constant may enlarge the result");
    if (const char* reason = cannot_forward(node.output(0), x)) return no_match(reason);
    return Match{node, x};
  }
  return no_match();
}

void rewrite(const Match& m, Rewriter& rw) {
  rw.replace_uses(m.node.output(0), m.x);
  rw.remove(m.node);
}

}  // namespace

constinit const PassInfo kEliminateNeutralElement{
    .name = "eliminate-neutral-element",
    .summary = "remove arithmetic with a constant that changes nothing (x * 1, x - 0)",
    .roots = {"Add", "Sub", "Mul", "Div", "Pow", "And", "Or"},
    .level = Level::kBasic,
    .exactness = Exactness::kExact,
    .run = run_rule<match, rewrite>};
}  // namespace onnxtool
