// Leaves out a choice that always falls on the same side.
//
//   y = Where(condition, a, b)     with a condition that is true in every element and run
//     =>
//   readers of y read a            (b, where it is false)
//
// Exporters write Where(Equal(shape, -1), 1, shape) before every Expand, and no extent is -1: the
// condition follows from names of extents. Does not fire: elements of the condition that differ, or
// are not known; the side taken is not known to have the shape of the result; y is a graph output
// and the side cannot take its name. Source: ONNX Where-9.

#include <algorithm>

#include "libopt/analysis/seam.h"
#include "passes/forward.h"
#include "passes/pass.h"
#include "passes/shapes.h"

namespace onnxtool {
namespace {

struct Match {
  const Node& choice;
  int side;  // the input that is taken
};

// What all elements are; nullopt: they differ, there are none, or nobody knows.
std::optional<bool> decided(const Value& condition) {
  std::optional<std::vector<int64_t>> elements;
  if (const Tensor* t = condition.constant())
    elements = t->to_ints();
  else if (condition.type().rank().value_or(2) <= 1)
    elements = known_elements(condition);
  if (!elements || elements->empty()) return std::nullopt;
  const bool first = elements->front() != 0;
  const bool same = std::ranges::all_of(*elements, [&](int64_t e) { return (e != 0) == first; });
  return same ? std::optional(first) : std::nullopt;
}

MatchOr<Match> match(const Node& choice) {
  if (choice.num_inputs() != 3 || !choice.has_input(0) || !choice.has_input(1) ||
      !choice.has_input(2) || !choice.has_output(0))
    return no_match();
  const auto truth = decided(choice.input(0));
  if (!truth) return no_match("the condition is not known");
  const int side = *truth ? 1 : 2;
  if (!same_shape(choice.input(side), choice.output(0)))
    return no_match("the side taken may be enlarged");
  if (const char* reason = cannot_forward(choice.output(0), choice.input(side)))
    return no_match(reason);
  return Match{choice, side};
}

void rewrite(const Match& m, Rewriter& rw) {
  rw.replace_uses(m.choice.output(0), m.choice.input(m.side));
  rw.remove(m.choice);
}

}  // namespace

constinit const PassInfo kEliminateWhere{
    .name = "eliminate-where",
    .summary = "leave out a choice that always falls on the same side",
    .roots = {"Where"},
    .level = Level::kBasic,
    .exactness = Exactness::kExact,
    .run = run_rule<match, rewrite>};
}  // namespace onnxtool
