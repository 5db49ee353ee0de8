// Makes a constant that is added to a convolution's result its bias.
//
//   y = Add(Conv(x, W, b), c)    c one number, or one per channel: extents 1 but for axis 1
//     =>
//   y = Conv(x, W, b + c)        (b absent: c)
//
// Sub(Conv(...), c) adds -c. ConvTranspose likewise; Add in either order of inputs.
// Does not fire: the convolution's result is used elsewhere; c is not constant, or varies along a
// spatial axis or the batch (a [W] addend with W == C_out is not a bias), or has more axes than the
// result; opsets below 7, whose broadcasting is another; the new bias makes the file grow.
// Numerics: the sum in double, rounded once on store; the convolution adds it before its own
// rounding. Source: ONNX Conv-11, ConvTranspose-11, Add-7, Sub-7 (multidirectional broadcasting).

#include "passes/conv_fold.h"
#include "passes/pass.h"

namespace onnxtool {
namespace {

// The shift, or the mean that is taken off.
Affine step_of(const Node& node, std::vector<double> values) {
  Affine step;
  (node.is("Sub") ? step.mean : step.shift) = std::move(values);
  return step;
}

MatchOr<ConvFold> match(const Node& node, const PassContext& context) {
  return match_conv_fold(node, node.is("Add"), step_of, context);
}

}  // namespace

constinit const PassInfo kFoldAddIntoConv{
    .name = "fold-add-into-conv",
    .summary = "make a constant added to a convolution's result its bias",
    .roots = {"Add", "Sub"},
    .level = Level::kBasic,
    .exactness = Exactness::kRounding,
    .run = run_rule<match, rewrite_conv_fold>};
}  // namespace onnxtool
