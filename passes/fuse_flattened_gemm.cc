// Multiplies by a matrix without flattening first.
//
//   y = Reshape(Gemm(Reshape(x, {-1, K}), W, b), {d0, d1, ..., N})     d0, d1, ... the leading
//   extents of x
//     =>
//   y = Add(MatMul(x, W), b)
//
// and without b just the product. The leading extents are often computed from x, and that goes with
// them. Does not fire: alpha or beta other than 1, transposed factors; b that is no row;
// intermediate results used elsewhere; the last shape is not known to be x's but for the last
// extent; x is not known to end in K; fewer than three axes; half precision, where the product is
// rounded once more before the row is added. Numerics: as in fuse_matmul_add.cc. Source: ONNX
// Gemm-11, MatMul-9 (as numpy.matmul).

#include "libopt/analysis/seam.h"
#include "passes/pass.h"
#include "passes/shapes.h"

namespace onnxtool {
namespace {

struct Match {
  const Node& restore;
  const Node& gemm;
  const Value& x;
};

bool is_row(const Value& b) {
  const auto& shape = b.type().shape;
  if (!shape || shape->size() > 2) return false;
  return shape->size() < 2 || (*shape)[0].value == 1;
}

// Whether the target, read against x, is x's shape with another last extent.
bool restores(const Node& restore, const Value& x, const Dim& columns) {
  const auto target = symbolic_elements(restore.input(1));
  const auto& shape = x.type().shape;
  if (!target || target->size() != shape->size()) return false;
  // 0 is read against the product, which has two axes.
  const auto& product = restore.input(0).type().shape;
  const bool copies = restore.attr<int64_t>("allowzero", 0) == 0;
  int open = 0;
  for (size_t i = 0; i + 1 < shape->size(); ++i) {
    Dim wanted = (*target)[i];
    if (wanted.value == 0 && copies && product && i < product->size()) wanted = (*product)[i];
    if (wanted.value == -1)
      ++open;
    else if (wanted.value.value_or(1) < 1 || !same_dim(wanted, (*shape)[i]))
      return false;
  }
  if (target->back().value == -1) return open == 0 && columns.value.has_value();
  return open <= 1 && columns.value && same_dim(target->back(), columns);
}

MatchOr<Match> match(const Node& restore) {
  if (restore.opset() < 7 || !restore.has_input(0) || !restore.has_input(1) ||
      !restore.has_output(0))
    return no_match();
  const Node* gemm = restore.input(0).producer();
  if (!gemm || !gemm->is("Gemm") || !gemm->has_input(0) || !gemm->has_input(1)) return no_match();
  const Node* flatten = gemm->input(0).producer();
  if (!flatten || !flatten->is("Reshape") || !flatten->has_input(0)) return no_match();
  if (&gemm->graph() != &restore.graph() || &flatten->graph() != &restore.graph())
    return no_match();
  if (gemm->attr<float>("alpha", 1) != 1 || gemm->attr<float>("beta", 1) != 1)
    return no_match("alpha or beta is not 1");
  if (gemm->attr<int64_t>("transA", 0) || gemm->attr<int64_t>("transB", 0))
    return no_match("a factor is transposed");
  if (gemm->has_input(2) && !is_row(gemm->input(2))) return no_match("addend is no row");
  const DataType type = restore.output(0).type().dtype;
  if (type != DataType::kFloat && type != DataType::kDouble)
    return no_match("half precision would round twice");
  if (!restore.input(0).has_one_use()) return no_match("product has another use");
  const Value& x = flatten->input(0);
  const auto& shape = x.type().shape;
  const auto& weight = gemm->input(1).type().shape;
  if (!shape || shape->size() < 3 || !weight || weight->size() != 2)
    return no_match("fewer than three axes");
  if (!same_dim(shape->back(), (*weight)[0]))
    return no_match("x is not known to end in the factor's rows");
  if (!restores(restore, x, (*weight)[1])) return no_match("shape is not known to be restored");
  return Match{restore, *gemm, x};
}

void rewrite(const Match& m, Rewriter& rw) {
  Value* product = &rw.add_node("MatMul", {const_cast<Value*>(&m.x), &m.gemm.input(1)}, {}, 1,
                                m.gemm.output(0).name())
                        .output(0);
  if (m.gemm.has_input(2))
    product = &rw.add_node("Add", {product, &m.gemm.input(2)}, {}, 1, m.restore.output(0).name())
                   .output(0);
  rw.replace_uses(m.restore.output(0), *product);
  rw.remove(m.restore);
}

}  // namespace

constinit const PassInfo kFuseFlattenedGemm{
    .name = "fuse-flattened-gemm",
    .summary = "multiply by a matrix without a Reshape before and behind",
    .roots = {"Reshape"},
    .level = Level::kBasic,
    .exactness = Exactness::kRounding,
    .run = run_rule<match, rewrite>};
}  // namespace onnxtool
