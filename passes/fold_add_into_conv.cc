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
// Numerics: the sum in double, rounded once on store; the convolution adds it before its own rounding.
// Source: ONNX Conv-11, ConvTranspose-11, Add-7, Sub-7 (multidirectional broadcasting).

#include "passes/growth.h"
#include "passes/layer.h"
#include "passes/pass.h"

namespace onnxtool {
namespace {

struct Match {
  const Node& add;
  FoldedLayer folded;
};

MatchOr<Match> match(const Node& node, const PassContext& context) {
  const bool is_sub = node.is("Sub");
  if ((!is_sub && !node.is("Add")) || node.num_inputs() != 2 || !node.has_input(0) || !node.has_input(1)) return no_match();
  const int constant_index = !is_sub && node.input(0).constant() ? 0 : 1;
  const Tensor* constant = node.input(constant_index).constant();
  const Node* conv = node.input(1 - constant_index).producer();
  if (!constant || !conv || (!conv->is("Conv") && !conv->is("ConvTranspose"))) return no_match();
  const auto layer = find_layer(node.input(1 - constant_index), node);
  if (!layer) return no_match(layer.reason());
  if (node.opset() < 7) return no_match("opset below 7 broadcasts by attribute");
  Affine step;
  (is_sub ? step.mean : step.shift) = per_channel(*constant, layer->weight->rank(), layer->channels);
  if (step.mean.empty() && step.shift.empty()) return no_match("constant is not one number per channel");
  const auto folded = fold_affine(*layer, step);
  if (!folded) return no_match(folded.reason());
  if (!may_grow(context, folded->added_bytes, bytes_freed_with(node))) return no_match("the new bias would make the file grow");
  return Match{node, *folded};
}

void rewrite(const Match& m, Rewriter& rw) {
  apply_fold(m.folded, rw);
  rw.replace_uses(m.add.output(0), m.folded.layer.node->output(0));
  rw.remove(m.add);
}

}  // namespace

constinit const PassInfo kFoldAddIntoConv{
    .name = "fold-add-into-conv",
    .summary = "make a constant added to a convolution's result its bias",
    .roots = {"Add", "Sub"},
    .level = Level::kBasic,
    .exactness = Exactness::kRounding,
    .run = run_rule<match, rewrite>};
}  // namespace onnxtool
