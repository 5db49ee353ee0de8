// Joins at once what several Concat join one after the other.
//
//   y = Concat<axis>(a, Concat<axis>(b, c), d)
//     =>
//   y = Concat<axis>(a, b, c, d)
//
// Does not fire: the axes differ, or count from different ends and the rank is not known; the inner
// result is used elsewhere.
// Source: ONNX Concat-4, -11, -13.

#include <utility>

#include "passes/pass.h"

namespace onnxtool {
namespace {

struct Match {
  const Node& outer;
  std::vector<const Value*> inputs;
};

std::optional<int64_t> axis_of(const Node& concat) {
  const int64_t axis = concat.attr<int64_t>("axis", 1);
  const auto rank = concat.has_output(0) ? concat.output(0).type().rank() : std::nullopt;
  if (axis >= 0) return axis;
  return rank ? std::optional(axis + *rank) : std::nullopt;
}

// The Concat in the same graph that makes the input; nullptr: another node does.
const Node* inner_of(const Node& outer, int index) {
  const Node* inner = outer.has_input(index) ? outer.input(index).producer() : nullptr;
  return inner && inner->is("Concat") && &inner->graph() == &outer.graph() ? inner : nullptr;
}

// Why the inner Concat cannot be joined with the one that reads it; nullptr: it can.
const char* obstacle(const Node& outer, int index, const Node& inner) {
  const auto a = axis_of(outer), b = axis_of(inner);
  if (!a || a != b) return "axes differ";
  return outer.input(index).has_one_use() ? nullptr : "inner result has another use";
}

// Whether a later Concat takes this one's inputs over.
bool is_taken_over(const Node& concat) {
  if (!concat.has_output(0) || !concat.output(0).has_one_use() ||
      concat.output(0).is_graph_output())
    return false;
  const Use& use = concat.output(0).uses().front();
  return use.user->is("Concat") && inner_of(*use.user, use.index) &&
         !obstacle(*use.user, use.index, concat);
}

// The whole tree is joined at its last Concat: one by one, a chain would take time with its square.
MatchOr<Match> match(const Node& outer) {
  if (is_taken_over(outer)) return no_match();
  const char* reason = nullptr;
  bool joins = false;
  Match m{outer, {}};
  // Nodes whose inputs are being read, with the next one: chains are longer than call stacks.
  std::vector<std::pair<const Node*, int>> open = {{&outer, 0}};
  while (!open.empty()) {
    auto& [node, next] = open.back();
    if (next == node->num_inputs()) {
      open.pop_back();
      continue;
    }
    const int index = next++;
    const Node* inner = inner_of(*node, index);
    const char* why_not = inner ? obstacle(*node, index, *inner) : nullptr;
    if (inner && !why_not) {
      joins = true;
      open.emplace_back(inner, 0);
      continue;
    }
    if (why_not) reason = why_not;
    m.inputs.push_back(node->inputs()[static_cast<size_t>(index)]);
  }
  if (joins) return m;
  return reason ? no_match(reason) : no_match();
}

void rewrite(const Match& m, Rewriter& rw) {
  for (size_t i = 0; i < m.inputs.size(); ++i)
    rw.set_input(m.outer, static_cast<int>(i), m.inputs[i]);
  rw.resize_inputs(m.outer, static_cast<int>(m.inputs.size()));
}

}  // namespace

constinit const PassInfo kFuseConcats{
    .name = "fuse-concats",
    .summary = "join at once what two Concat join one after the other",
    .roots = {"Concat"},
    .level = Level::kBasic,
    .exactness = Exactness::kExact,
    .run = run_rule<match, rewrite>};
}  // namespace onnxtool
