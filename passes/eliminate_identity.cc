// Removes Identity.
//
//   y = Identity(x)
//     =>
//   readers of y read x; where y is a graph output, the node that makes x makes y
//
// Does not fire: y is a graph output and x is made by no node of this graph (a graph input, an
// initializer, a value of an outer graph), or is a graph output itself.
// Source: ONNX Identity-16.

#include "passes/forward.h"
#include "passes/pass.h"

namespace onnxtool {
namespace {

struct Match {
  const Node& identity;
};

MatchOr<Match> match(const Node& identity) {
  if (!identity.is("Identity") || !identity.has_input(0) || !identity.has_output(0))
    return no_match();
  if (const char* reason = cannot_forward(identity.output(0), identity.input(0)))
    return no_match(reason);
  return Match{identity};
}

void rewrite(const Match& m, Rewriter& rw) {
  rw.replace_uses(m.identity.output(0), m.identity.input(0));
  rw.remove(m.identity);
}

}  // namespace

constinit const PassInfo kEliminateIdentity{.name = "eliminate-identity",
                                            .summary = "remove Identity",
                                            .roots = {"Identity"},
                                            .level = Level::kBasic,
                                            .exactness = Exactness::kExact,
                                            .run = run_rule<match, rewrite>};
}  // namespace onnxtool
