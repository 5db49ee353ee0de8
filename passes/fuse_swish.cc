// Makes one Swish of a value times its sigmoid.
//
//   y = Mul(x, Sigmoid(x))                  =>   y = Swish(x)
//   y = Mul(x, Sigmoid(Mul(x, alpha)))      =>   y = Swish<alpha>(x)
//
// Inputs in any order. Does not fire: the sigmoid is used elsewhere; types that Swish lacks; opset
// below 24; opset above it, where onnxruntime finds neither kernel nor definition and refuses the
// model; onnxruntime's CPU provider, which has a QuickGelu instead. Source: ONNX Swish-24;
// onnxruntime 1.31, as measured.

#include "passes/pass.h"
#include "passes/sigmoid_gate.h"

namespace onnxtool {
namespace {

constexpr int kFirstSwish = 24;
constexpr int kLastSwishOfOnnxruntime = 24;

struct Match {
  const Node& product;
  SigmoidGate gate;
};

MatchOr<Match> match(const Node& product, const PassContext& context) {
  if (context.ort_cpu) return no_match();
  Pattern p(product);
  const auto gate = find_sigmoid_gate(p, product);
  if (!gate) return no_match(gate.reason());
  const DataType type = gate->x->type().dtype;
  if (type != DataType::kFloat && type != DataType::kFloat16 && type != DataType::kBfloat16)
    return no_match("type is not one of Swish's");
  if (!has_opset(product, kFirstSwish, context)) return no_match("Swish needs opset 24");
  if (product.opset() > kLastSwishOfOnnxruntime)
    return no_match("onnxruntime has Swish at opset 24 only");
  return Match{product, *gate};
}

void rewrite(const Match& m, Rewriter& rw) {
  std::vector<Attribute> attributes;
  if (m.gate.alpha != 1)
    attributes.push_back(Attribute::of("alpha", static_cast<float>(m.gate.alpha)));
  const Node& swish = rw.add_node("Swish", {const_cast<Value*>(m.gate.x)}, std::move(attributes), 1,
                                  m.product.output(0).name());
  rw.replace_uses(m.product.output(0), swish.output(0));
  rw.remove(m.product);
}

}  // namespace

constinit const PassInfo kFuseSwish{
    .name = "fuse-swish",
    .summary = "make one Swish of a value times its sigmoid, where the opset has it",
    .roots = {"Mul"},
    .level = Level::kBasic,
    .exactness = Exactness::kRounding,
    .run = run_rule<match, rewrite>};
}  // namespace onnxtool
