// Makes a product of matrices and the addition behind it one Gemm.
//
//   y = Add(MatMul(A, B), C)     A [M, K], B [K, N], C of one or two axes that fit [M, N], or a
//   scalar
//     =>
//   y = Gemm(A, B, C)
//
// Add in either order of inputs, or a Sum of two; the product may be a Gemm that adds nothing,
// whose alpha and transpositions stay. Does not fire: the product is used elsewhere; A or B is not
// known to have two axes; C is not known to broadcast to the product's shape, rather than the
// product to C's; other types than float16, float, double and bfloat16 (whose Gemm needs opset 13);
// opset below 7. Numerics: runtimes add C before or after the rounding of the sum. Source: ONNX
// Gemm-7 (unidirectional broadcasting), -13 (bfloat16); MatMul-1.

#include "passes/pass.h"
#include "passes/shapes.h"

namespace onnxtool {
namespace {

struct Match {
  const Node& add;
  const Node& product;
  const Value& c;
};

// Whether the addend never enlarges a result of that shape.
bool fits(const Value& c, const std::vector<Dim>& result) {
  const auto& shape = c.type().shape;
  if (!shape || shape->size() > 2) return false;
  for (size_t i = 0; i < shape->size(); ++i) {
    const Dim& d = (*shape)[shape->size() - 1 - i];
    if (d.value != 1 && !same_dim(d, result[1 - i])) return false;
  }
  return true;
}

MatchOr<Match> match(const Node& add) {
  if (add.num_inputs() != 2 || !add.has_input(0) || !add.has_input(1) || !add.has_output(0))
    return no_match();
  for (int i = 0; i < 2; ++i) {
    const Node* product = add.input(i).producer();
    if (!product || !(product->is("MatMul") || product->is("Gemm")) || product->has_input(2) ||
        !product->has_input(0) || !product->has_input(1))
      continue;
    if (add.opset() < 7) return no_match("opset below 7 broadcasts by attribute");
    const auto &a = product->input(0).type().shape, &b = product->input(1).type().shape;
    if (!a || !b || a->size() != 2 || b->size() != 2)
      return no_match("factors are not known to be matrices");
    if (!add.input(i).has_one_use() || &product->graph() != &add.graph())
      return no_match("product has another use");
    const DataType type = add.output(0).type().dtype;
    if (!is_float(type) || (type == DataType::kBfloat16 && add.opset() < 13))
      return no_match("type is not one of Gemm's");
    const auto extent = [&](const std::vector<Dim>& of, const char* flag, size_t axis) {
      return of[product->attr<int64_t>(flag, 0) ? 1 - axis : axis];
    };
    if (!fits(add.input(1 - i), {extent(*a, "transA", 0), extent(*b, "transB", 1)}))
      return no_match("addend may enlarge the result");
    return Match{add, *product, add.input(1 - i)};
  }
  return no_match();
}

void rewrite(const Match& m, Rewriter& rw) {
  // In place of the Add: C may be made after the product.
  rw.set_op(m.add, "Gemm");
  if (m.product.attribute("alpha"))
    rw.set_attribute(m.add, Attribute::of("alpha", m.product.attr<float>("alpha", 1)));
  for (const char* flag : {"transA", "transB"})
    if (m.product.attr<int64_t>(flag, 0)) rw.set_attribute(m.add, Attribute::of(flag, int64_t{1}));
  const Value &a = m.product.input(0), &b = m.product.input(1), &c = m.c;
  rw.set_input(m.add, 0, &a);
  rw.set_input(m.add, 1, &b);
  rw.set_input(m.add, 2, &c);
}

}  // namespace

constinit const PassInfo kFuseMatmulAdd{
    .name = "fuse-matmul-add",
    .summary = "make a MatMul of matrices, or a Gemm, and the Add behind it one Gemm",
    .roots = {"Add", "Sum"},
    .level = Level::kBasic,
    .exactness = Exactness::kRounding,
    .run = run_rule<match, rewrite>};
}  // namespace onnxtool
