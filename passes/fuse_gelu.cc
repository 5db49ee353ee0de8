// Makes one Gelu of the nodes that compute it with the error function.
//
//   y = x / 2 * (1 + Erf(x / sqrt(2)))
//     =>
//   y = Gelu(x)                     from opset 20 on
//   y = com.microsoft.Gelu(x)       before, for onnxruntime
//
// In any order of factors and with the constants multiplied or divided by.
// Does not fire: intermediate results are used elsewhere; constants that differ; opset below 20 for
// any runtime; types other than float for onnxruntime's own. Source: ONNX Gelu-20;
// onnxruntime 1.31, docs/ContribOperators.md.

#include <cmath>

#include "passes/formula.h"
#include "passes/pass.h"
#include "passes/shapes.h"

namespace onnxtool {
namespace {

struct Match {
  const Node& product;
  const Value& x;
  bool standard;
};

constexpr int kFirstGelu = 20;

MatchOr<Match> match(const Node& product, const PassContext& context) {
  if (product.opset() < 7) return no_match();
  Pattern p(product);
  const auto gate = find_gate(p, product, "Erf");
  if (!gate) return gate.reason() ? no_match(gate.reason()) : no_match();
  const DataType type = gate->x->type().dtype;
  if (!same_polynomial(gate->argument, {{1, std::sqrt(0.5)}}, type))
    return no_match("argument is not x / sqrt(2)");
  if (!same_rank(*gate->x, product.output(0))) return no_match(kMayEnlarge);
  if (!p.closed()) return no_match(Pattern::kOtherUse);
  const bool foreign = context.ort_cpu && type == DataType::kFloat;
  const bool standard = product.opset() >= kFirstGelu;
  if (!standard && !foreign && !has_opset(product, kFirstGelu, context))
    return no_match(context.ort_cpu ? "type is not float" : "Gelu needs opset 20");
  return Match{product, *gate->x, standard};
}

void rewrite(const Match& m, Rewriter& rw) {
  const Node& gelu = rw.add_node("Gelu", {const_cast<Value*>(&m.x)}, {}, 1,
                                 m.product.output(0).name(), m.standard ? "" : "com.microsoft");
  rw.replace_uses(m.product.output(0), gelu.output(0));
  rw.remove(m.product);
}

}  // namespace

constinit const PassInfo kFuseGelu{
    .name = "fuse-gelu",
    .summary =
        "make one Gelu of the nodes that compute it with Erf, where the opset or the target has it",
    .roots = {"Mul", "Div"},
    .level = Level::kBasic,
    .exactness = Exactness::kRounding,
    .run = run_rule<match, rewrite>};
}  // namespace onnxtool
