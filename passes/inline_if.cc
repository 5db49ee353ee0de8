// Puts the branch that a constant condition chooses in the place of its If.
//
//   y = If(true) <then_branch = { ... z ... }, else_branch = { ... }>
//     =>
//   ... z ...     and readers of y read z
//
// Does not fire: the condition is not constant; the branch has initializers and the graph around
// may not (IR older than 4). Source: ONNX If-1, -11, -16.

#include "passes/pass.h"

namespace onnxtool {
namespace {

struct Match {
  const Node& choice;
  const Graph& branch;
};

MatchOr<Match> match(const Node& choice) {
  if (!choice.has_input(0)) return no_match();
  const Tensor* condition = choice.input(0).constant();
  if (!condition || condition->count() != 1 || condition->dtype() != DataType::kBool)
    return no_match("condition is not constant");
  const Attribute* a = choice.attribute(condition->to_ints()[0] ? "then_branch" : "else_branch");
  const auto* branch = a ? a->get<std::unique_ptr<Graph>>() : nullptr;
  if (!branch || !(*branch)->inputs().empty() ||
      static_cast<int>((*branch)->outputs().size()) < choice.num_outputs())
    return no_match("branch does not fit the node");
  if (!(*branch)->initializers().empty() && !may_hold_initializers(choice.graph()))
    return no_match("initializers would have to be graph inputs (IR older than 4)");
  return Match{choice, **branch};
}

void rewrite(const Match& m, Rewriter& rw) {
  const std::vector<Value*> results = rw.inline_before(m.branch);
  for (int i = 0; i < m.choice.num_outputs(); ++i)
    if (m.choice.has_output(i))
      rw.replace_uses(m.choice.output(i), *results[static_cast<size_t>(i)]);
  rw.remove(m.choice);
}

}  // namespace

constinit const PassInfo kInlineIf{
    .name = "inline-if",
    .summary = "put the branch that a constant condition chooses in the place of its If",
    .roots = {"If"},
    .level = Level::kBasic,
    .exactness = Exactness::kExact,
    .run = run_rule<match, rewrite>};
}  // namespace onnxtool
