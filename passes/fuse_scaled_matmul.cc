// Takes scales and transpositions of matrices into the product.
//
//   MatMul(Mul(A, c), B), Mul(MatMul(A, B), c)     =>   com.microsoft.FusedMatMul<alpha = c>(A, B)
//   MatMul(Transpose(A), B)                        =>   com.microsoft.FusedMatMul<transA = 1>(A, B)
//
// Either factor; Mul and Div by a constant scalar; Transpose of the last two axes. What is a
// FusedMatMul already takes more of the kind. Does not fire: the scaled, transposed or multiplied
// tensor is used elsewhere; another order of axes; dequantized factors, whose product runtimes run
// on integers; types other than float; a scale that is infinite, NaN or zero, or becomes so with
// the one that is there already; a Transpose where the other factor may have one axis, or one of
// the first factor where there may be no matrices at all: onnxruntime's FusedMatMul fails at these.
// Source: onnxruntime 1.31, docs/ContribOperators.md; optimizer/matmul_scale_fusion.cc,
// matmul_transpose_fusion.cc.

#include <algorithm>
#include <cmath>

#include "libopt/rewrite/pattern.h"
#include "passes/pass.h"
#include "passes/shapes.h"

namespace onnxtool {
namespace {

struct Match {
  const Node& product;
  const Node& taken;
  int factor;    // which one; -1: `taken` stands behind
  double scale;  // 0: a Transpose
};

bool is_product(const Node& n) {
  return (n.is("MatMul") || n.is("FusedMatMul", "com.microsoft")) && n.num_inputs() == 2 &&
         n.has_input(0) && n.has_input(1);
}

bool is_usable(double scale) {
  return std::isfinite(scale) && std::isnormal(static_cast<float>(scale));
}

double alpha_of(const Node& product) { return product.attr<float>("alpha", 1); }

bool has_matrices(const Value& v) {
  const auto& shape = v.type().shape;
  if (!shape || shape->size() < 2) return false;
  return std::all_of(shape->begin(), shape->end() - 2,
                     [](const Dim& d) { return d.value.value_or(0) > 0; });
}

// Whether FusedMatMul can transpose this factor: its matrices, whatever extents they have when run.
bool can_transpose(const Node& product, int factor) {
  const Value& other = product.input(1 - factor);
  if (other.type().rank().value_or(0) < 2) return false;
  return factor == 1 || (has_matrices(product.input(0)) && has_matrices(other));
}

// By what the node multiplies its one computed input `x`; nullopt: it does not.
std::optional<double> scale_of(const Node& n, const Value*& x) {
  if (n.opset() < 7 || !(n.is("Mul") || n.is("Div"))) return std::nullopt;
  const auto c = scalar_operand(n, x);
  if (!c || !same_rank(*x, n.output(0)) || (n.is("Div") && x != &n.input(0))) return std::nullopt;
  const double scale = n.is("Div") ? 1 / *c : *c;
  return is_usable(scale) ? std::optional(scale) : std::nullopt;
}

bool swaps_last_axes(const Node& n) {
  if (!n.is("Transpose") || !n.has_input(0)) return false;
  const auto perm = attribute_ints(n, "perm");
  if (!perm || perm->size() < 2) return false;
  for (size_t i = 0; i < perm->size(); ++i) {
    const size_t wanted = i + 2 < perm->size() ? i : 2 * perm->size() - 3 - i;
    if ((*perm)[i] != static_cast<int64_t>(wanted)) return false;
  }
  return true;
}

constexpr const char* kUnusable = "scales together are no usable number";

MatchOr<Match> match_behind(const Node& scaling) {
  const Value* x = nullptr;
  const auto scale = scale_of(scaling, x);
  const Node* product = scale ? x->producer() : nullptr;
  if (!product || !is_product(*product) || &product->graph() != &scaling.graph()) return no_match();
  if (!x->has_one_use()) return no_match("product has another use");
  if (x->type().dtype != DataType::kFloat) return no_match("type is not float");
  if (reads_dequantized(*product)) return no_match("product is one that runs on integers");
  if (!is_usable(alpha_of(*product) * *scale)) return no_match(kUnusable);
  return Match{*product, scaling, -1, *scale};
}

MatchOr<Match> match(const Node& node) {
  if (node.is("Mul") || node.is("Div")) return match_behind(node);
  if (!is_product(node)) return no_match();
  for (int i = 0; i < 2; ++i) {
    const Value& factor = node.input(i);
    const Node* made = factor.producer();
    const Value* x = nullptr;
    if (!made || &made->graph() != &node.graph()) continue;
    const auto scale = scale_of(*made, x);
    if (!scale && !swaps_last_axes(*made)) continue;
    if (!factor.has_one_use()) return no_match("factor has another use");
    if (factor.type().dtype != DataType::kFloat) return no_match("type is not float");
    if (reads_dequantized(node)) return no_match("product is one that runs on integers");
    if (scale && !is_usable(alpha_of(node) * *scale)) return no_match(kUnusable);
    if (!scale && !can_transpose(node, i))
      return no_match("other factor may have one axis, or there may be no matrices");
    return Match{node, *made, i, scale.value_or(0)};
  }
  return no_match();
}

void rewrite(const Match& m, Rewriter& rw) {
  const double alpha = alpha_of(m.product);
  rw.set_op(m.product, "FusedMatMul", "com.microsoft");
  if (m.scale != 0) {
    rw.set_attribute(m.product, Attribute::of("alpha", static_cast<float>(alpha * m.scale)));
  } else {
    const char* flag = m.factor == 0 ? "transA" : "transB";
    rw.set_attribute(m.product, Attribute::of(flag, int64_t{1} - m.product.attr<int64_t>(flag, 0)));
  }
  if (m.factor < 0) {
    rw.replace_uses(m.taken.output(0), m.product.output(0));
    rw.remove(m.taken);
    return;
  }
  const Value* x = &m.taken.input(0);
  if (m.scale != 0) [[maybe_unused]]
    const auto again = scalar_operand(m.taken, x);
  rw.set_input(m.product, m.factor, x);
}

}  // namespace

constinit const PassInfo kFuseScaledMatmul{
    .name = "fuse-scaled-matmul",
    .summary = "take scales and transpositions before and behind a MatMul into one FusedMatMul",
    .roots = {"MatMul", "com.microsoft.FusedMatMul", "Mul", "Div"},
    .level = Level::kExtended,
    .exactness = Exactness::kRounding,
    .run = run_rule<match, rewrite>};
}  // namespace onnxtool
