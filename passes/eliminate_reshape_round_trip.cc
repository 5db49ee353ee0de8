// Computes in the shape that a value has and gets back in the end.
//
//   y = Back(Op(There(a), There(b)))     There and Back each of Reshape, Flatten, Squeeze,
//   Unsqueeze
//     =>                                 Op any tree of element-wise nodes, of which none
//     broadcasts
//   y = Op(a, b)                         and constants of one element are operands too
//
//   y = Back(There(a))
//     =>
//   y is a
//
// Does not fire: a has not the shape of y in every run; a node between broadcasts, or its result is
// used elsewhere; in the second form, y is a graph output and a cannot take its name. In the first
// form at least Back goes; There goes where nothing else reads it. Source: the operators' texts.

#include <algorithm>
#include <utility>

#include "libopt/ir/copy.h"
#include "passes/forward.h"
#include "passes/layout.h"
#include "passes/pass.h"
#include "passes/shapes.h"

namespace onnxtool {
namespace {

// Longer chains between two Reshape are layers of their own.
constexpr size_t kMaxNodes = 16;

struct Match {
  const Node& back;
  std::vector<const Node*> between;  // in the order of computation; empty: y is the value itself
};

bool only_reshapes(const Node& n) {
  return n.is("Reshape") || n.is("Flatten") || n.is("Squeeze") || n.is("Unsqueeze");
}

// What the value is made of by a Reshape, where that has the shape of y already.
const Value* source_of(const Value& v, const Value& y) {
  const Node* there = v.producer();
  const bool fits = there && only_reshapes(*there) && there->has_input(0) &&
                    &there->graph() == &y.graph() && same_shape(there->input(0), y);
  return fits ? &there->input(0) : nullptr;
}

bool is_number(const Value& v, const Value& y) {
  return v.constant() && v.constant()->count() == 1 &&
         v.constant()->rank() <= static_cast<int64_t>(y.type().rank().value_or(0));
}

// Takes in the nodes that make the value; nullptr: all of them work on sources and numbers. `left`
// bounds the depth too.
const char* collect(const Value& v, const Value& y, size_t& left, std::vector<const Node*>& nodes) {
  const Node* node = v.producer();
  if (!node || !is_elementwise(*node) || node->num_outputs() != 1 || &v.graph() != &y.graph())
    return "does not come from a value of that shape";
  if (left-- == 0) return "too many nodes between";
  if (!v.has_one_use()) return "a result between has another use";
  bool any = false;
  for (const Value* in : node->inputs()) {
    if (!in) return "an operand is absent";
    if (is_number(*in, y)) continue;
    if (!same_shape(*in, v)) return "a node between broadcasts";
    any = true;
    if (source_of(*in, y)) continue;
    if (const char* reason = collect(*in, y, left, nodes)) return reason;
  }
  if (!any) return "does not come from a value of that shape";
  nodes.push_back(node);
  return nullptr;
}

MatchOr<Match> match(const Node& back) {
  if (!only_reshapes(back) || !back.has_input(0) || !back.has_output(0)) return no_match();
  const Value& y = back.output(0);
  if (const Value* x = source_of(back.input(0), y)) {
    if (const char* reason = cannot_forward(y, *x)) return no_match(reason);
    return Match{back, {}};
  }
  const Node* last = back.input(0).producer();
  if (!last || !is_elementwise(*last)) return no_match();
  Match m{back, {}};
  size_t left = kMaxNodes;
  if (const char* reason = collect(back.input(0), y, left, m.between)) return no_match(reason);
  return m;
}

void rewrite(const Match& m, Rewriter& rw) {
  const Value& y = m.back.output(0);
  if (m.between.empty()) {
    rw.replace_uses(y, *source_of(m.back.input(0), y));
    rw.remove(m.back);
    return;
  }
  std::vector<std::pair<const Value*, Value*>> made;
  for (const Node* n : m.between) {
    std::vector<Value*> inputs;
    for (Value* in : n->inputs()) {
      const auto before = std::ranges::find(made, in, &std::pair<const Value*, Value*>::first);
      const Value* source = source_of(*in, y);
      inputs.push_back(before != made.end() ? before->second
                       : source             ? const_cast<Value*>(source)
                                            : in);
    }
    std::vector<Attribute> attributes;
    ValueMap none;
    for (const Attribute& a : n->attributes())
      attributes.push_back(copy_attribute(a, rw.graph(), none));
    Node& anew = rw.add_node(n->op_type(), inputs, std::move(attributes), 1, n->output(0).name());
    rw.infer_types(anew);
    made.emplace_back(&n->output(0), &anew.output(0));
  }
  rw.replace_uses(y, *made.back().second);
  rw.remove(m.back);
}

}  // namespace

constinit const PassInfo kEliminateReshapeRoundTrip{
    .name = "eliminate-reshape-round-trip",
    .summary = "leave out a Reshape of what gets its shape back behind element-wise nodes",
    .roots = {"Reshape", "Flatten", "Squeeze", "Unsqueeze"},
    .level = Level::kBasic,
    .exactness = Exactness::kExact,
    .run = run_rule<match, rewrite>};
}  // namespace onnxtool
