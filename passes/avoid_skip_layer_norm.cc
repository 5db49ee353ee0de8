// Writes the addition before a normalization as a Sum of two.
//
//   y = LayerNormalization(Add(x, skip), scale, bias)
//     =>
//   y = LayerNormalization(Sum(x, skip), scale, bias)
//
// Of the Add onnxruntime makes SkipLayerNormalization where it sees that both have one shape, and
// its kernel takes 4 to 10 times as long as the two nodes: 8 % of BERT-base with 128 rows, 15 % of
// smaller models. Nothing is made of a Sum. Does not fire: the sum is used elsewhere; the addends
// are known to differ in shape or not to have three axes; opset below 8, where Sum does not
// broadcast. Source: onnxruntime 1.31, optimizer/skip_layer_norm_fusion.cc, and as measured.

#include <algorithm>

#include "passes/pass.h"

namespace onnxtool {
namespace {

bool may_be_equal(const Value& a, const Value& b) {
  const auto &x = a.type().shape, &y = b.type().shape;
  if ((x && x->size() != 3) || (y && y->size() != 3)) return false;
  return !x || !y || std::ranges::equal(*x, *y, [](const Dim& p, const Dim& q) {
    return !p.value || !q.value || p.value == q.value;
  });
}

MatchOr<const Node*> match(const Node& norm) {
  const Node* add = norm.has_input(0) ? norm.input(0).producer() : nullptr;
  if (!add || !add->is("Add") || &add->graph() != &norm.graph() || add->num_inputs() != 2 ||
      !add->has_input(0) || !add->has_input(1) || !norm.input(0).has_one_use())
    return no_match();
  if (!is_float(norm.input(0).type().dtype) || !may_be_equal(add->input(0), add->input(1)))
    return no_match();
  if (add->opset() < 8) return no_match("opset below 8, where Sum does not broadcast");
  return add;
}

void rewrite(const Node* add, Rewriter& rw) { rw.set_op(*add, "Sum"); }

}  // namespace

constinit const PassInfo kAvoidSkipLayerNorm{
    .name = "avoid-skip-layer-norm",
    .summary =
        "write the addition before a normalization so that onnxruntime does not make "
        "SkipLayerNormalization of it, which is slower",
    .roots = {"LayerNormalization"},
    .level = Level::kExtended,
    .exactness = Exactness::kExact,
    .run = run_rule<match, rewrite>,
    .last = true};
}  // namespace onnxtool
