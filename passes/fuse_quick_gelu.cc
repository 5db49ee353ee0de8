// Makes one QuickGelu of a value times its sigmoid.
//
//   y = Mul(x, Sigmoid(x))                  =>   y = com.microsoft.QuickGelu<alpha = 1>(x)
//   y = Mul(x, Sigmoid(Mul(x, alpha)))      =>   y = com.microsoft.QuickGelu<alpha>(x)
//
// Inputs in any order. Does not fire: the sigmoid is used elsewhere; types other than float, which
// onnxruntime's CPU kernel lacks.
// Source: onnxruntime 1.31, docs/ContribOperators.md; optimizer/quick_gelu_fusion.cc.

#include "libopt/rewrite/pattern.h"
#include "passes/pass.h"
#include "passes/shapes.h"

namespace onnxtool {
namespace {

struct Match {
  const Node& product;
  const Value& x;
  float alpha;
};

MatchOr<Match> match(const Node& product) {
  if (product.opset() < 7) return no_match();
  Pattern p(product);
  const Value* x = nullptr;
  const Node* sigmoid = p.take_either(product, {"Sigmoid"}, x);
  if (!sigmoid || !sigmoid->has_input(0)) return no_match();
  double alpha = 1;
  if (&sigmoid->input(0) != x) {
    const Node* scaled = p.take(sigmoid->input(0), {"Mul"});
    const Value* inner = nullptr;
    const auto factor = scaled ? scalar_operand(*scaled, inner) : std::nullopt;
    if (!factor || inner != x) return no_match("sigmoid is of another value");
    alpha = *factor;
  }
  if (x->type().dtype != DataType::kFloat) return no_match("type is not float");
  if (!same_rank(*x, product.output(0))) return no_match(kMayEnlarge);
  if (!p.closed()) return no_match(Pattern::kOtherUse);
  return Match{product, *x, static_cast<float>(alpha)};
}

void rewrite(const Match& m, Rewriter& rw) {
  rw.set_op(m.product, "QuickGelu", "com.microsoft");
  rw.set_input(m.product, 0, &m.x);
  rw.resize_inputs(m.product, 1);
  rw.set_attribute(m.product, Attribute::of("alpha", m.alpha));
}

}  // namespace

constinit const PassInfo kFuseQuickGelu{
    .name = "fuse-quick-gelu",
    .summary = "make one QuickGelu of a value times its sigmoid",
    .roots = {"Mul"},
    .level = Level::kExtended,
    .exactness = Exactness::kRounding,
    .run = run_rule<match, rewrite>};
}  // namespace onnxtool
