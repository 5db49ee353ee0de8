// Folds a constant scale into the convolution before it.
//
//   y = Mul(Conv(x, W, b), c)    c one number, or one per channel: extents 1 but for axis 1
//     =>
//   y = Conv(x, W * c, b * c)    along C_out
//
// Div by a constant scales by 1 / c. ConvTranspose likewise; Mul in either order of inputs.
// Does not fire: the convolution's result is used elsewhere; c is not constant, or varies along a
// spatial axis or the batch, or has more axes than the result; opsets below 7, whose broadcasting is
// another; the product exceeds the weight's type; the weight is shared and its copy makes the file grow.
// Numerics: products in double, rounded once on store.
// Source: ONNX Conv-11, ConvTranspose-11, Mul-7, Div-7 (multidirectional broadcasting).

#include "passes/growth.h"
#include "passes/layer.h"
#include "passes/pass.h"

namespace onnxtool {
namespace {

struct Match {
  const Node& scale;
  FoldedLayer folded;
};

MatchOr<Match> match(const Node& node, const PassContext& context) {
  const bool is_div = node.is("Div");
  if ((!is_div && !node.is("Mul")) || node.num_inputs() != 2 || !node.has_input(0) || !node.has_input(1)) return no_match();
  const int constant_index = !is_div && node.input(0).constant() ? 0 : 1;
  const Tensor* constant = node.input(constant_index).constant();
  const Node* conv = node.input(1 - constant_index).producer();
  if (!constant || !conv || (!conv->is("Conv") && !conv->is("ConvTranspose"))) return no_match();
  const auto layer = find_layer(node.input(1 - constant_index), node);
  if (!layer) return no_match(layer.reason());
  if (node.opset() < 7) return no_match("opset below 7 broadcasts by attribute");
  Affine step;
  step.scale = per_channel(*constant, layer->weight->rank(), layer->channels);
  if (step.scale.empty()) return no_match("constant is not one number per channel");
  if (is_div)
    for (double& k : step.scale) k = 1.0 / k;
  const auto folded = fold_affine(*layer, step);
  if (!folded) return no_match(folded.reason());
  if (!may_grow(context, folded->added_bytes, bytes_freed_with(node))) return no_match("weight is shared: the file would grow");
  return Match{node, *folded};
}

void rewrite(const Match& m, Rewriter& rw) {
  apply_fold(m.folded, rw);
  rw.replace_uses(m.scale.output(0), m.folded.layer.node->output(0));
  rw.remove(m.scale);
}

}  // namespace

constinit const PassInfo kFoldMulIntoConv{
    .name = "fold-mul-into-conv",
    .summary = "fold a constant scale (Mul, Div) into the convolution before it",
    .roots = {"Mul", "Div"},
    .level = Level::kBasic,
    .exactness = Exactness::kRounding,
    .run = run_rule<match, rewrite>};
}  // namespace onnxtool
