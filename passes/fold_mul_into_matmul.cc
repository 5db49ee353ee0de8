// Folds a constant scale of columns into the product before it.
//
//   y = Mul(MatMul(x, W), c)           =>  y = MatMul(x, W * c)
//
//   y = Mul(Add(MatMul(x, W), b), c)   =>  y = Add(MatMul(x, W * c), b * c)
//
//   y = Mul(Gemm(x, W, b), c)          =>  y = Gemm(x, W * c, b * c)
//
// c has a number for each column of W.
//
// What trained layers scale their results by (ConvNeXt, CaiT, BEiT). A Transpose may stand before
// the scale, which is along another axis then. Either order of inputs; Div by a constant scales by
// 1 / c. Does not fire: an intermediate result is used elsewhere; W, b or c is not constant; c is
// one number, for which runtimes look where they fuse attention, or varies along another axis than
// the last; opsets below 7, whose broadcasting is another; the product exceeds the weight's type;
// the weight is shared and its copy makes the file grow. Numerics: products in double, rounded once
// on store. Source: ONNX MatMul-1, Gemm-7, Mul-7, Div-7.

#include <algorithm>

#include "passes/growth.h"
#include "passes/layer.h"
#include "passes/pass.h"

namespace onnxtool {
namespace {

struct Match {
  const Node& scale;
  FoldedLayer folded;
  const Node* bias_add;  // between a MatMul and the scale
  int bias_index;        // its constant input
  const Node* turn;      // the Transpose before the scale
};

// A number for each index of one axis, for a result of that rank.
bool is_along(const Value& v, int64_t axis, int64_t rank, int64_t columns) {
  const Tensor* t = v.constant();
  if (!t || !is_float(t->dtype()) || t->rank() > rank || t->count() != columns) return false;
  const int64_t place = axis - (rank - t->rank());
  return place >= 0 && t->dims()[static_cast<size_t>(place)] == columns;
}

// Where the last axis is once it is transposed; -1: that is not known.
int64_t place_of_last(const Node& transpose, int64_t rank) {
  const auto perm = transpose.attr<std::vector<int64_t>>("perm", {});
  if (perm.empty()) return 0;
  const auto at = std::ranges::find(perm, rank - 1);
  return static_cast<int64_t>(perm.size()) == rank && at != perm.end() ? at - perm.begin() : -1;
}

// -1: neither of both inputs is constant, or both are.
int constant_input(const Node& n) {
  if (n.num_inputs() != 2 || !n.has_input(0) || !n.has_input(1) || !n.has_output(0)) return -1;
  const bool first = n.input(0).constant(), second = n.input(1).constant();
  return first == second ? -1 : second ? 1 : 0;
}

MatchOr<Match> match(const Node& node, const PassContext& context) {
  const int index = constant_input(node);
  if (index < 0 || node.opset() < 7 || (node.is("Div") && index == 0)) return no_match();
  const Value& scaled = node.input(1 - index);
  const Node* turn = scaled.producer();
  if (turn && (!turn->is("Transpose") || &turn->graph() != &node.graph() || !turn->has_input(0)))
    turn = nullptr;
  const Value& x = turn ? turn->input(0) : scaled;
  const Node* add = x.producer();
  int bias_index = -1;
  if (add && add->is("Add") && &add->graph() == &node.graph()) bias_index = constant_input(*add);
  if (bias_index < 0) add = nullptr;
  const Value& product = add ? add->input(1 - bias_index) : x;
  if (!product.producer() ||
      !(product.producer()->is("MatMul") || (product.producer()->is("Gemm") && !add)))
    return no_match();
  if (node.input(index).constant()->count() == 1) return no_match("scale is one number");
  if (add && !x.has_one_use()) return no_match("layer result has another use");
  if (turn && !scaled.has_one_use()) return no_match("layer result has another use");
  auto layer = find_layer(product, add ? *add : node);
  if (!layer) return no_match(layer.reason());
  Layer found = *layer;
  const int64_t rank = product.type().rank().value_or(0);
  if (!is_along(node.input(index), turn ? place_of_last(*turn, rank) : rank - 1, rank,
                found.channels))
    return no_match("scale is not one number a column");
  if (add) {
    if (!is_along(add->input(bias_index), rank - 1, rank, found.channels))
      return no_match("what is added is not one number a column");
    found.bias = add->input(bias_index).constant()->to_doubles();
  }
  Affine step;
  step.scale = node.input(index).constant()->to_doubles();
  if (node.is("Div"))
    for (double& c : step.scale) c = 1.0 / c;
  const auto folded = fold_affine(std::move(found), step);
  if (!folded) return no_match(folded.reason());
  if (!may_grow(context, folded->added_bytes, bytes_freed_with(node)))
    return no_match("weight is shared: the file would grow");
  return Match{node, *folded, add, bias_index, turn};
}

void rewrite(const Match& m, Rewriter& rw) {
  apply_fold(m.folded, rw);
  if (m.bias_add)
    rw.set_input(*m.bias_add, m.bias_index,
                 &rw.add_constant(*m.folded.bias, m.bias_add->input(m.bias_index).name()));
  const Node& last = m.turn ? *m.turn : m.bias_add ? *m.bias_add : *m.folded.layer.node;
  rw.replace_uses(m.scale.output(0), last.output(0));
  rw.remove(m.scale);
}

}  // namespace

constinit const PassInfo kFoldMulIntoMatmul{
    .name = "fold-mul-into-matmul",
    .summary = "fold a constant scale of columns into the product before it",
    .roots = {"Mul", "Div"},
    .level = Level::kBasic,
    .exactness = Exactness::kRounding,
    .run = run_rule<match, rewrite>};
}  // namespace onnxtool
