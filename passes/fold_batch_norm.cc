// Folds an inference-mode BatchNormalization into the layer that feeds it.
//
//   y = BatchNormalization(Conv(x, W, b), scale, bias, mean, var)
//     =>
//   y = Conv(x, W', b')    k = scale / sqrt(var + epsilon)           [C_out]
//                          W' = W * k along C_out;   b' = (b - mean) * k + bias   (b absent: 0)
//
// The same for ConvTranspose and Gemm (b is beta * C; beta becomes 1, alpha stays), and for MatMul,
// whose bias is an Add: one that stands between it and the normalization, else a new one.
//
// Does not fire: training mode; layer result used elsewhere or a graph output (the unscaled value
// is still needed); any parameter not constant; MatMul results of rank other than 2 (axis 1, which
// is normalized, is not the axis of W's columns); per-activation statistics (spatial = 0).
// Numerics: k, W' and b' in double, rounded once on store.
// Source: ONNX BatchNormalization-15, equation for training_mode = 0; -1, -6 (is_test), -7
// (spatial), -9 (training by number of outputs).

#include <cmath>

#include "passes/growth.h"
#include "passes/layer.h"
#include "passes/pass.h"

namespace onnxtool {
namespace {

struct Match {
  const Node& bn;
  FoldedLayer folded;
  const Node* bias_add;  // between a MatMul and bn
  int bias_index;        // its constant input
};

bool is_training(const Node& bn) {
  if (bn.opset() >= 14) return bn.attr<int64_t>("training_mode", 0) != 0;
  if (bn.opset() < 7) return bn.attr<int64_t>("is_test", 0) == 0;
  return false;
}

MatchOr<Affine> affine_of(const Node& bn) {
  if (is_training(bn)) return no_match("training mode");
  for (int i = 1; i < bn.num_outputs(); ++i)
    if (bn.has_output(i) && (bn.opset() >= 7 || !bn.output(i).unused()))
      return no_match("training mode");
  if (bn.opset() < 9 && bn.attr<int64_t>("spatial", 1) == 0)
    return no_match("statistics are per activation");
  std::vector<double> values[5];
  for (int i = 1; i <= 4; ++i) {
    const Tensor* t = bn.has_input(i) ? bn.input(i).constant() : nullptr;
    if (!t || !is_float(t->dtype()))
      return no_match("BatchNormalization parameter is not constant");
    values[i] = t->to_doubles();
    if (values[i].size() != values[1].size())
      return no_match("BatchNormalization parameters differ in size");
  }
  Affine step{std::move(values[3]), std::move(values[1]), std::move(values[2])};
  const double epsilon = bn.attr<float>("epsilon", 1e-5f);
  for (size_t c = 0; c < step.scale.size(); ++c) step.scale[c] /= std::sqrt(values[4][c] + epsilon);
  return step;
}

// The Add of a constant row that makes bn's input, or nullptr.
const Node* row_add(const Node& bn, int& constant_index) {
  const Node* add = bn.input(0).producer();
  if (!add || !add->is("Add") || add->opset() < 7 || add->num_inputs() != 2 ||
      &add->graph() != &bn.graph())
    return nullptr;
  for (int i = 0; i < 2; ++i) {
    const Value& other = add->input(1 - i);
    if (!add->input(i).constant() || !other.producer() || !other.producer()->is("MatMul")) continue;
    constant_index = i;
    return add;
  }
  return nullptr;
}

MatchOr<Match> match(const Node& bn, const PassContext& context) {
  if (!bn.is("BatchNormalization") || bn.num_inputs() != 5 || !bn.has_input(0) || !bn.has_output(0))
    return no_match();
  const auto step = affine_of(bn);
  if (!step) return no_match(step.reason());
  const Value& x = bn.input(0);

  int bias_index = 0;
  const Node* add = row_add(bn, bias_index);
  if (add && !x.has_one_use()) return no_match("layer result has another use");
  auto layer = find_layer(add ? add->input(1 - bias_index) : x, add ? *add : bn);
  if (!layer) return no_match(layer.reason());
  Layer found = *layer;
  if (found.kind == Layer::Kind::kMatMul && x.type().rank() != 2)
    return no_match("rank of the MatMul result is not known to be 2");
  if (static_cast<int64_t>(step->scale.size()) != found.channels)
    return no_match("channels of layer and parameters differ");
  if (add) {
    const Tensor& row = *add->input(bias_index).constant();
    const bool fits = row.rank() == 1 || (row.rank() == 2 && row.dims()[0] == 1);
    if (!is_float(row.dtype()) || !fits || row.count() != found.channels)
      return no_match("Add between MatMul and BatchNormalization is no row");
    found.bias = row.to_doubles();
  }
  const auto folded = fold_affine(std::move(found), *step);
  if (!folded) return no_match(folded.reason());
  if (!may_grow(context, folded->added_bytes, bytes_freed_with(bn)))
    return no_match("weight is shared: the file would grow");
  return Match{bn, *folded, add, bias_index};
}

void rewrite(const Match& m, Rewriter& rw) {
  apply_fold(m.folded, rw);
  const Value* result = &m.folded.layer.node->output(0);
  if (m.bias_add) {
    rw.set_input(*m.bias_add, m.bias_index,
                 &rw.add_constant(*m.folded.bias, m.bias_add->input(m.bias_index).name()));
    result = &m.bias_add->output(0);
  } else if (m.folded.layer.kind == Layer::Kind::kMatMul) {
    Node& add = rw.add_node(
        "Add", {const_cast<Value*>(result), &rw.add_constant(*m.folded.bias, m.bn.input(2).name())},
        {}, 1, m.bn.name());
    result = &add.output(0);
  }
  rw.replace_uses(m.bn.output(0), *result);
  rw.remove(m.bn);
}

}  // namespace

constinit const PassInfo kFoldBatchNorm{
    .name = "fold-batch-norm",
    .summary = "fold an inference BatchNormalization into the layer that feeds it",
    .roots = {"BatchNormalization"},  // the driver offers no other node
    .level = Level::kBasic,
    .exactness = Exactness::kRounding,
    .run = run_rule<match, rewrite>};
}  // namespace onnxtool
