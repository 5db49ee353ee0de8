// Makes one FastGelu of the nodes that compute it with the hyperbolic tangent.
//
//   y = x / 2 * (1 + Tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)))
//     =>
//   y = com.microsoft.FastGelu(x)
//
// In any order of sums and factors; the cube as Pow or as products. ONNX's own Gelu with
// approximate = "tanh" is not written at level basic: runtimes look for the nodes. Does not fire:
// intermediate results are used elsewhere; constants that differ; types other than float; a scalar,
// which onnxruntime's FastGelu refuses. Source: onnxruntime 1.31, docs/ContribOperators.md;
// optimizer/fast_gelu_fusion.cc.

#include <cmath>
#include <numbers>

#include "passes/formula.h"
#include "passes/pass.h"
#include "passes/shapes.h"

namespace onnxtool {
namespace {

struct Match {
  const Node& product;
  const Value& x;
};

constexpr double kCubic = 0.044715;

MatchOr<Match> match(const Node& product) {
  if (product.opset() < 7) return no_match();
  Pattern p(product);
  const auto gate = find_gate(p, product, "Tanh");
  if (!gate) return gate.reason() ? no_match(gate.reason()) : no_match();
  const double factor = std::sqrt(2 / std::numbers::pi);
  if (!same_polynomial(gate->argument, {{1, factor}, {3, factor * kCubic}}, gate->x->type().dtype))
    return no_match("argument is not sqrt(2 / pi) * (x + 0.044715 * x^3)");
  if (gate->x->type().dtype != DataType::kFloat) return no_match("type is not float");
  if (!same_rank(*gate->x, product.output(0))) return no_match(kMayEnlarge);
  if (gate->x->type().rank() == 0) return no_match("a scalar has no last axis");
  if (!p.closed()) return no_match(Pattern::kOtherUse);
  return Match{product, *gate->x};
}

void rewrite(const Match& m, Rewriter& rw) {
  const Node& gelu = rw.add_node("FastGelu", {const_cast<Value*>(&m.x)}, {}, 1,
                                 m.product.output(0).name(), "com.microsoft");
  rw.replace_uses(m.product.output(0), gelu.output(0));
  rw.remove(m.product);
}

}  // namespace

constinit const PassInfo kFuseFastGelu{
    .name = "fuse-fast-gelu",
    .summary = "make one FastGelu of the nodes that compute it with Tanh",
    .roots = {"Mul", "Div"},
    .level = Level::kExtended,
    .exactness = Exactness::kRounding,
    .run = run_rule<match, rewrite>};
}  // namespace onnxtool
