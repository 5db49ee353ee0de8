// Makes one operator of two that keep a value within constant bounds.
//
//   y = Op2(Op1(x))     each of Relu, Clip, and Min or Max with a number
//     =>
//   y = Clip(x, low, high), Relu(x), Max(x, low) or Min(x, high), whatever says the same
//
// A Clip without a bound keeps to the finite numbers, a Min or Max does not. Does not fire: bounds
// that are not constant, or of which the lower is above the upper; the value between is used
// elsewhere; integers; a number with more axes than x; opset below 11, where Clip had attributes.
// Numerics: which zero comes out of bounds of zero is up to the kernel.
// Source: ONNX Clip-11, Relu-6, Max-8, Min-8.

#include <algorithm>
#include <cmath>
#include <limits>

#include "libopt/analysis/clip.h"
#include "libopt/rewrite/pattern.h"
#include "passes/layer.h"
#include "passes/pass.h"
#include "passes/shapes.h"

namespace onnxtool {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// x is kept from `low` to `high`.
struct Bounds {
  const Value* x;
  double low, high;
};

// The largest finite number; 0: of none of the types that are bounded here.
double largest(DataType type) {
  if (type == DataType::kFloat) return std::numeric_limits<float>::max();
  if (type == DataType::kDouble) return std::numeric_limits<double>::max();
  return type == DataType::kFloat16 ? 65504 : 0;
}

MatchOr<Bounds> bounds_of(const Node& n) {
  if (!n.domain().empty() || !n.has_input(0) || !n.has_output(0)) return no_match();
  if (n.is("Relu")) return Bounds{&n.input(0), 0, kInfinity};
  Bounds b{&n.input(0), -kInfinity, kInfinity};
  if (n.is("Min") || n.is("Max")) {
    const auto number = scalar_operand(n, b.x);
    if (!number) return no_match();
    if (!same_rank(*b.x, n.output(0))) return no_match(kMayEnlarge);
    (n.is("Min") ? b.high : b.low) = *number;
  } else if (n.is("Clip")) {
    const auto bounds = clip_bounds(n, largest(n.input(0).type().dtype));
    if (!bounds) return no_match("bounds are not constant");
    b.low = bounds->low;
    b.high = bounds->high;
  } else {
    return no_match();
  }
  if (!(b.low <= b.high)) return no_match("the lower bound is above the upper");
  return b;
}

struct Match {
  const Node& last;
  Bounds bounds;
};

MatchOr<Match> match(const Node& last) {
  constexpr int kFirstClipByInputs = 11;
  const auto outer = bounds_of(last);
  if (!outer) return no_match(outer.reason());
  const Node* first = outer->x->producer();
  if (!first) return no_match();
  const auto inner = bounds_of(*first);
  if (!inner) return no_match(inner.reason());
  if (last.opset() < kFirstClipByInputs) return no_match("opset below 11 clips by attributes");
  if (largest(outer->x->type().dtype) == 0) return no_match("type is not float");
  if (only_reader(*outer->x) != &last) return no_match("value between has another use");
  return Match{last,
               {inner->x, std::clamp(inner->low, outer->low, outer->high),
                std::clamp(inner->high, outer->low, outer->high)}};
}

void rewrite(const Match& m, Rewriter& rw) {
  const DataType type = m.last.output(0).type().dtype;
  const double limit = largest(type);
  const auto number = [&](double v) { return &rw.add_constant(round_to(type, {}, {v}), "bound"); };
  const auto& [x, low, high] = m.bounds;
  std::vector<Value*> inputs = {const_cast<Value*>(x)};
  const char* op = "Clip";
  if (low == 0 && high == kInfinity) {
    op = "Relu";
  } else if (high == kInfinity || low == -kInfinity) {
    op = high == kInfinity ? "Max" : "Min";
    inputs.push_back(number(high == kInfinity ? low : high));
  } else {
    inputs.push_back(low == -limit ? nullptr : number(low));
    inputs.push_back(high == limit ? nullptr : number(high));
    while (!inputs.back()) inputs.pop_back();
  }
  const Node& clip = rw.add_node(op, inputs, {}, 1, m.last.output(0).name());
  rw.replace_uses(m.last.output(0), clip.output(0));
  rw.remove(m.last);
}

}  // namespace

constinit const PassInfo kFuseClips{
    .name = "fuse-clips",
    .summary = "make one Clip, Relu, Min or Max of two with constant bounds",
    .roots = {"Clip", "Relu", "Min", "Max"},
    .level = Level::kBasic,
    .exactness = Exactness::kRounding,
    .run = run_rule<match, rewrite>};
}  // namespace onnxtool
