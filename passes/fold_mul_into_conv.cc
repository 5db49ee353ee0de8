// Folds a constant scale into the convolution before it.
//
//   y = Mul(Conv(x, W, b), c)    c one number, or one per channel: extents 1 but for axis 1
//     =>
//   y = Conv(x, W * c, b * c)    along C_out
//
// Div by a constant scales by 1 / c. ConvTranspose likewise; Mul in either order of inputs.
// Does not fire: the convolution's result is used elsewhere; c is not constant, or varies along a
// spatial axis or the batch, or has more axes than the result; opsets below 7, whose broadcasting
// is another; the product exceeds the weight's type; the weight is shared and its copy makes the
// file grow. Numerics: products in double, rounded once on store. Source: ONNX Conv-11,
// ConvTranspose-11, Mul-7, Div-7 (multidirectional broadcasting).

#include "passes/conv_fold.h"
#include "passes/pass.h"

namespace onnxtool {
namespace {

Affine step_of(const Node& node, std::vector<double> values) {
  Affine step;
  step.scale = std::move(values);
  if (node.is("Div"))
    for (double& k : step.scale) k = 1.0 / k;
  return step;
}

MatchOr<ConvFold> match(const Node& node, const PassContext& context) {
  return match_conv_fold(node, node.is("Mul"), step_of, context);
}

}  // namespace

constinit const PassInfo kFoldMulIntoConv{
    .name = "fold-mul-into-conv",
    .summary = "fold a constant scale (Mul, Div) into the convolution before it",
    .roots = {"Mul", "Div"},
    .level = Level::kBasic,
    .exactness = Exactness::kRounding,
    .run = run_rule<match, rewrite_conv_fold>};
}  // namespace onnxtool
