#include "passes/conv_fold.h"

#include "passes/growth.h"

namespace onnxtool {

MatchOr<ConvFold> match_conv_fold(const Node& node, bool commutes,
                                  Affine (*step_of)(const Node&, std::vector<double>),
                                  const PassContext& context) {
  if (node.num_inputs() != 2 || !node.has_input(0) || !node.has_input(1) || !node.has_output(0))
    return no_match();
  const int constant_index = commutes && node.input(0).constant() ? 0 : 1;
  const Tensor* constant = node.input(constant_index).constant();
  const Node* conv = node.input(1 - constant_index).producer();
  if (!constant || !conv || (!conv->is("Conv") && !conv->is("ConvTranspose"))) return no_match();
  const auto layer = find_layer(node.input(1 - constant_index), node);
  if (!layer) return no_match(layer.reason());
  if (node.opset() < 7) return no_match("opset below 7 broadcasts by attribute");
  std::vector<double> values = per_channel(*constant, layer->weight->rank(), layer->channels);
  if (values.empty()) return no_match("constant is not one number per channel");
  const auto folded = fold_affine(*layer, step_of(node, std::move(values)));
  if (!folded) return no_match(folded.reason());
  if (!may_grow(context, folded->added_bytes, bytes_freed_with(node)))
    return no_match("the new weight or bias would make the file grow");
  return ConvFold{node, *folded};
}

void rewrite_conv_fold(const ConvFold& fold, Rewriter& rw) {
  apply_fold(fold.folded, rw);
  rw.replace_uses(fold.node.output(0), fold.folded.layer.node->output(0));
  rw.remove(fold.node);
}

}  // namespace onnxtool
