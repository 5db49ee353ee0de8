// Makes one Transpose of two.
//
//   y = Transpose<p2>(Transpose<p1>(x))
//     =>
//   y = Transpose<p>(x)     p[i] = p1[p2[i]]; none at all where p is the identity
//
// Does not fire: the first result is used elsewhere, unless nothing is left of the two; the
// identity that is a graph output x cannot take the name of; orders that are no permutations of one
// length. Source: ONNX Transpose-13.

#include "passes/forward.h"
#include "passes/layout.h"
#include "passes/pass.h"

namespace onnxtool {
namespace {

struct Match {
  const Node& second;
  const Value& x;
  Perm perm;
  bool identity;
};

MatchOr<Match> match(const Node& second) {
  if (!second.has_input(0) || !second.has_output(0)) return no_match();
  const Node* first = second.input(0).producer();
  if (!first || !first->is("Transpose") || !first->has_input(0)) return no_match();
  const Perm p1 = perm_of(*first), p2 = perm_of(second);
  if (p1.empty() || p1.size() != p2.size()) return no_match("orders do not fit");
  Perm perm = composed(p1, p2);
  const bool identity = is_identity(perm);
  const Value& x = first->input(0);
  if (identity) {
    if (const char* reason = cannot_forward(second.output(0), x)) return no_match(reason);
  } else if (!second.input(0).has_one_use()) {
    return no_match("first result has another use");
  }
  return Match{second, x, std::move(perm), identity};
}

void rewrite(const Match& m, Rewriter& rw) {
  if (m.identity) {
    rw.replace_uses(m.second.output(0), m.x);
    rw.remove(m.second);
    return;
  }
  rw.set_attribute(m.second, Attribute::of("perm", m.perm));
  rw.set_input(m.second, 0, &m.x);
}

}  // namespace

constinit const PassInfo kFuseTransposes{.name = "fuse-transposes",
                                         .summary = "make one Transpose of two, or none",
                                         .roots = {"Transpose"},
                                         .level = Level::kBasic,
                                         .exactness = Exactness::kExact,
                                         .run = run_rule<match, rewrite>};
}  // namespace onnxtool
