// Makes one FusedConv of a convolution and the activation behind it.
//
//   y = Relu(Conv(x, W, b))
//     =>
//   y = com.microsoft.FusedConv<activation = "Relu">(x, W, b)
//
//   Relu, Sigmoid, Tanh, LeakyRelu (alpha), HardSigmoid (alpha, beta), Clip (constant bounds)
//
// A FusedConv without an activation (see fuse-conv-add) takes one in, too. Does not fire: the
// convolution's result is used elsewhere; types other than float, which onnxruntime's CPU kernel
// lacks; bounds of Clip that are not constant; a convolution of dequantized values, which runtimes
// run on integers. A convolution with an addition behind it is left to onnxruntime, which takes
// both into its blocked layout, but not a FusedConv of four inputs. Source: onnxruntime 1.31,
// docs/ContribOperators.md; optimizer/conv_activation_fusion.cc.

#include "libopt/analysis/clip.h"
#include "libopt/rewrite/pattern.h"
#include "passes/pass.h"

namespace onnxtool {
namespace {

struct Match {
  const Node& conv;
  const Node& activation;
  std::vector<float> params;
};

bool may_take_activation(const Node& node) {
  return node.is("Conv") ||
         (node.is("FusedConv", "com.microsoft") && !node.attribute("activation"));
}

MatchOr<Match> match(const Node& activation) {
  if (!activation.has_input(0) || !activation.has_output(0)) return no_match();
  const Node* conv = activation.input(0).producer();
  if (!conv || !may_take_activation(*conv) || &conv->graph() != &activation.graph())
    return no_match();
  if (!activation.input(0).has_one_use())
    return no_match("result of the convolution has another use");
  if (activation.input(0).type().dtype != DataType::kFloat) return no_match("type is not float");
  if (reads_dequantized(*conv)) return no_match("layer is one that runs on integers");
  Match m{*conv, activation, {}};
  if (activation.is("LeakyRelu")) m.params = {activation.attr<float>("alpha", 0.01f)};
  if (activation.is("HardSigmoid"))
    m.params = {activation.attr<float>("alpha", 0.2f), activation.attr<float>("beta", 0.5f)};
  if (activation.is("Clip")) {
    const auto bounds = clip_bounds(activation);
    if (!bounds) return no_match("bound of Clip is not constant");
    m.params = {static_cast<float>(bounds->low), static_cast<float>(bounds->high)};
  }
  return m;
}

void rewrite(const Match& m, Rewriter& rw) {
  rw.set_op(m.conv, "FusedConv", "com.microsoft");
  rw.set_attribute(m.conv, Attribute::of("activation", m.activation.op_type()));
  if (!m.params.empty()) rw.set_attribute(m.conv, Attribute::of("activation_params", m.params));
  rw.replace_uses(m.activation.output(0), m.conv.output(0));
  rw.remove(m.activation);
}

}  // namespace

constinit const PassInfo kFuseConvActivation{
    .name = "fuse-conv-activation",
    .summary = "make one FusedConv of a Conv and the activation behind it",
    .roots = {"Relu", "Sigmoid", "Tanh", "LeakyRelu", "HardSigmoid", "Clip"},
    .level = Level::kExtended,
    .exactness = Exactness::kRounding,
    .run = run_rule<match, rewrite>};
}  // namespace onnxtool
