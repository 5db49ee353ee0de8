// Removes nodes whose outputs nobody reads, and with them what only they read.
//
// Does not fire: some output is read, in a subgraph too, or is a graph output; the operator is a
// custom one, which may do more than make its outputs (libopt/analysis/effects.h).

#include <algorithm>

#include "libopt/analysis/effects.h"
#include "passes/pass.h"

namespace onnxtool {
namespace {

struct Match {
  const Node& dead;
};

MatchOr<Match> match(const Node& node) {
  const auto is_read = [](const Value* v) { return v && !v->unused(); };
  if (std::ranges::any_of(node.outputs(), is_read)) return no_match();
  if (may_have_effects(node)) return no_match("custom operator may have side effects");
  return Match{node};
}

void rewrite(const Match& m, Rewriter& rw) { rw.remove(m.dead); }

}  // namespace

constinit const PassInfo kEliminateDeadCode{.name = "eliminate-dead-code",
                                            .summary = "remove nodes whose outputs nobody reads",
                                            .level = Level::kBasic,
                                            .exactness = Exactness::kExact,
                                            .run = run_rule<match, rewrite>};
}  // namespace onnxtool
