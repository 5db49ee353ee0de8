// Chooses by a condition instead of by its negation.
//
//   y = Where(Not(c), a, b)
//     =>
//   y = Where(c, b, a)
//
// A Not that something else reads too stays for that. Source: ONNX Where-9, Not-1.

#include "passes/pass.h"

namespace onnxtool {
namespace {

struct Match {
  const Node& choice;
  const Value& condition;
};

MatchOr<Match> match(const Node& choice) {
  if (choice.num_inputs() != 3 || !choice.has_input(0) || !choice.has_input(1) ||
      !choice.has_input(2))
    return no_match();
  const Node* negation = choice.input(0).producer();
  if (!negation || !negation->is("Not") || !negation->has_input(0)) return no_match();
  return Match{choice, negation->input(0)};
}

void rewrite(const Match& m, Rewriter& rw) {
  const Value &a = m.choice.input(1), &b = m.choice.input(2);
  rw.set_input(m.choice, 0, &m.condition);
  rw.set_input(m.choice, 1, &b);
  rw.set_input(m.choice, 2, &a);
}

}  // namespace

constinit const PassInfo kFuseNotWhere{
    .name = "fuse-not-where",
    .summary = "choose by a condition instead of by its negation",
    .roots = {"Where"},
    .level = Level::kBasic,
    .exactness = Exactness::kExact,
    .run = run_rule<match, rewrite>};
}  // namespace onnxtool
