// Makes one QuickGelu of a value times its sigmoid.
//
//   y = Mul(x, Sigmoid(x))                  =>   y = com.microsoft.QuickGelu<alpha = 1>(x)
//   y = Mul(x, Sigmoid(Mul(x, alpha)))      =>   y = com.microsoft.QuickGelu<alpha>(x)
//   y = Swish<alpha>(x)                     =>   y = com.microsoft.QuickGelu<alpha>(x)
//
// Inputs in any order. Does not fire: the sigmoid is used elsewhere; types other than float, which
// onnxruntime's CPU kernel lacks.
// Source: onnxruntime 1.31, docs/ContribOperators.md; optimizer/quick_gelu_fusion.cc.

#include "passes/pass.h"
#include "passes/sigmoid_gate.h"

namespace onnxtool {
namespace {

struct Match {
  const Node& last;
  const Value& x;
  float alpha;
};

MatchOr<Match> match(const Node& last) {
  if (!last.has_input(0) || !last.has_output(0)) return no_match();
  Pattern p(last);
  auto gate = MatchOr<SigmoidGate>(no_match());
  if (last.is("Swish"))
    gate = SigmoidGate{&last.input(0), last.attr<float>("alpha", 1)};
  else
    gate = find_sigmoid_gate(p, last);
  if (!gate) return no_match(gate.reason());
  if (gate->x->type().dtype != DataType::kFloat) return no_match("type is not float");
  return Match{last, *gate->x, static_cast<float>(gate->alpha)};
}

void rewrite(const Match& m, Rewriter& rw) {
  rw.set_op(m.last, "QuickGelu", "com.microsoft");
  rw.set_input(m.last, 0, &m.x);
  rw.resize_inputs(m.last, 1);
  rw.set_attribute(m.last, Attribute::of("alpha", m.alpha));
}

}  // namespace

constinit const PassInfo kFuseQuickGelu{
    .name = "fuse-quick-gelu",
    .summary = "make one QuickGelu of a value times its sigmoid",
    .roots = {"Mul", "Swish"},
    .level = Level::kExtended,
    .exactness = Exactness::kRounding,
    .run = run_rule<match, rewrite>};
}  // namespace onnxtool
