// Makes one Mish of the nodes that compute it.
//
//   y = Mul(x, Tanh(Softplus(x)))
//     =>
//   y = Mish(x)
//
// Inputs in any order. Does not fire: intermediate results are used elsewhere; types that Mish
// lacks; opset below 18. Source: ONNX Mish-18, whose body this is.

#include "libopt/rewrite/pattern.h"
#include "passes/pass.h"

namespace onnxtool {
namespace {

constexpr int kFirstMish = 18;

struct Match {
  const Node& product;
  const Value& x;
};

MatchOr<Match> match(const Node& product, const PassContext& context) {
  if (product.opset() < 7) return no_match();
  Pattern p(product);
  const Value* x = nullptr;
  const Node* tanh = p.take_either(product, {"Tanh"}, x);
  const Node* softplus =
      tanh && tanh->has_input(0) ? p.take(tanh->input(0), {"Softplus"}) : nullptr;
  if (!softplus || !softplus->has_input(0)) return no_match();
  if (&softplus->input(0) != x) return no_match("Softplus is of another value");
  if (!p.closed()) return no_match(Pattern::kOtherUse);
  const DataType type = x->type().dtype;
  if (type != DataType::kFloat && type != DataType::kFloat16 && type != DataType::kDouble)
    return no_match("type is not one of Mish's");
  if (!has_opset(product, kFirstMish, context)) return no_match("Mish needs opset 18");
  return Match{product, *x};
}

void rewrite(const Match& m, Rewriter& rw) {
  const Node& mish =
      rw.add_node("Mish", {const_cast<Value*>(&m.x)}, {}, 1, m.product.output(0).name());
  rw.replace_uses(m.product.output(0), mish.output(0));
  rw.remove(m.product);
}

}  // namespace

constinit const PassInfo kFuseMish{
    .name = "fuse-mish",
    .summary = "make one Mish of the nodes that compute it, where the opset has it",
    .roots = {"Mul"},
    .level = Level::kBasic,
    .exactness = Exactness::kRounding,
    .run = run_rule<match, rewrite>};
}  // namespace onnxtool
