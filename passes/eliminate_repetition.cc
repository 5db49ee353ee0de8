// Removes an operator that was applied already, or that undoes itself.
//
//   y = Op(Op(x))     =>   readers of y read Op(x)     Abs, Ceil, Floor, Relu, Round, Sign
//   y = Op(Op(x))     =>   readers of y read x         Neg, Not
//
// Does not fire: y is a graph output and what replaces it cannot take its name.
// Source: the operators' texts. (Neg of the lowest integer is itself, so twice is it too.)

#include "passes/forward.h"
#include "passes/pass.h"

namespace onnxtool {
namespace {

struct Match {
  const Node& node;
  const Value& replacement;
};

MatchOr<Match> match(const Node& node) {
  if (!node.has_input(0) || !node.has_output(0)) return no_match();
  const Node* inner = node.input(0).producer();
  if (!inner || !inner->is(node.op_type()) || !inner->has_input(0)) return no_match();
  const Value& same = node.is("Neg") || node.is("Not") ? inner->input(0) : node.input(0);
  if (const char* reason = cannot_forward(node.output(0), same)) return no_match(reason);
  return Match{node, same};
}

void rewrite(const Match& m, Rewriter& rw) {
  rw.replace_uses(m.node.output(0), m.replacement);
  rw.remove(m.node);
}

}  // namespace

constinit const PassInfo kEliminateRepetition{
    .name = "eliminate-repetition",
    .summary = "remove a second Abs, Ceil, Floor, Relu, Round or Sign, and pairs of Neg and of Not",
    .roots = {"Abs", "Ceil", "Floor", "Relu", "Round", "Sign", "Neg", "Not"},
    .level = Level::kBasic,
    .exactness = Exactness::kExact,
    .run = run_rule<match, rewrite>};
}  // namespace onnxtool
