// Joins at once what two Concat join one after the other.
//
//   y = Concat<axis>(a, Concat<axis>(b, c), d)
//     =>
//   y = Concat<axis>(a, b, c, d)
//
// Does not fire: the axes differ, or count from different ends and the rank is not known; the inner
// result is used elsewhere.
// Source: ONNX Concat-4, -11, -13.

#include "passes/pass.h"

namespace onnxtool {
namespace {

struct Match {
  const Node& outer;
  int index;
};

std::optional<int64_t> axis_of(const Node& concat) {
  const int64_t axis = concat.attr<int64_t>("axis", 1);
  const auto rank = concat.has_output(0) ? concat.output(0).type().rank() : std::nullopt;
  if (axis >= 0) return axis;
  return rank ? std::optional(axis + *rank) : std::nullopt;
}

MatchOr<Match> match(const Node& outer) {
  const char* reason = nullptr;
  for (int i = 0; i < outer.num_inputs(); ++i) {
    const Node* inner = outer.has_input(i) ? outer.input(i).producer() : nullptr;
    if (!inner || !inner->is("Concat") || &inner->graph() != &outer.graph()) continue;
    const auto a = axis_of(outer), b = axis_of(*inner);
    if (!a || a != b) reason = "axes differ";
    else if (!outer.input(i).has_one_use()) reason = "inner result has another use";
    else return Match{outer, i};
  }
  return reason ? no_match(reason) : no_match();
}

void rewrite(const Match& m, Rewriter& rw) {
  std::vector<const Value*> inputs(m.outer.inputs().begin(), m.outer.inputs().end());
  const Node& inner = *m.outer.input(m.index).producer();
  inputs.erase(inputs.begin() + m.index);
  inputs.insert(inputs.begin() + m.index, inner.inputs().begin(), inner.inputs().end());
  for (size_t i = 0; i < inputs.size(); ++i) rw.set_input(m.outer, static_cast<int>(i), inputs[i]);
  rw.resize_inputs(m.outer, static_cast<int>(inputs.size()));
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
