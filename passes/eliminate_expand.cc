// Leaves the repetition of elements to the operator that broadcasts.
//
//   y = Op(Expand(x, shape), z)     x and z broadcast to the shape of y without it
//     =>
//   y = Op(x, z)
//
// Op is an arithmetic, comparing or logical operator of two inputs, in either order. An Expand that
// something else reads too stays for that. Does not fire: shapes are not known to be these; opset
// below 8. (Where is left alone: runtimes look for the Expand of its condition where they fuse
// attention.) Source: ONNX Expand-8, Broadcasting in ONNX.

#include <algorithm>

#include "passes/pass.h"
#include "passes/shapes.h"

namespace onnxtool {
namespace {

struct Match {
  const Node& node;
  int input;
  const Value& x;
};

// Whether the two broadcast to just that shape.
bool broadcast_to(const Value& a, const Value& b, const Value& result) {
  const auto &x = a.type().shape, &z = b.type().shape, &y = result.type().shape;
  if (!x || !z || !y || std::max(x->size(), z->size()) != y->size()) return false;
  const Dim one = Dim::of(1);
  for (size_t i = 0; i < y->size(); ++i) {  // from the right
    const Dim& d = i < x->size() ? (*x)[x->size() - 1 - i] : one;
    const Dim& e = i < z->size() ? (*z)[z->size() - 1 - i] : one;
    const Dim& wanted = (*y)[y->size() - 1 - i];
    if (d.value != 1 && e.value != 1 && !same_dim(d, e)) return false;
    if (!same_dim(d.value == 1 ? e : d, wanted)) return false;
  }
  return true;
}

MatchOr<Match> match(const Node& node) {
  if (node.num_inputs() != 2 || !node.has_input(0) || !node.has_input(1) || !node.has_output(0) ||
      node.opset() < 8)
    return no_match();
  bool near = false;
  for (int i = 0; i < 2; ++i) {
    const Node* expand = node.input(i).producer();
    if (!expand || !expand->is("Expand") || !expand->has_input(0)) continue;
    near = true;
    if (broadcast_to(expand->input(0), node.input(1 - i), node.output(0)))
      return Match{node, i, expand->input(0)};
  }
  return near ? no_match("result is not known to have its shape without") : no_match();
}

void rewrite(const Match& m, Rewriter& rw) { rw.set_input(m.node, m.input, &m.x); }

}  // namespace

constinit const PassInfo kEliminateExpand{
    .name = "eliminate-expand",
    .summary = "leave out an Expand whose reader broadcasts by itself",
    .roots = {"Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Equal", "Greater", "GreaterOrEqual",
              "Less", "LessOrEqual", "And", "Or", "Xor", "Mod"},
    .level = Level::kBasic,
    .exactness = Exactness::kExact,
    .run = run_rule<match, rewrite>};
}  // namespace onnxtool
