// Takes transpositions of matrices into the Gemm that reads them, or makes them.
//
//   y = Gemm<transA>(Transpose(A), B, C)     =>   y = Gemm<1 - transA>(A, B, C)      and so for B
//   y = Transpose(Gemm<transA, transB>(A, B))
//     =>
//   y = Gemm<1 - transB, 1 - transA>(B, A)
//
// A Transpose that something else reads too stays for that. Does not fire: more or fewer than two
// axes, or not known; an order that moves nothing; of the second form, a Gemm that adds C, or whose
// result is used elsewhere. Numerics: kernels may sum in another order.
// Source: ONNX Gemm-7, Transpose-1.

#include "libopt/rewrite/pattern.h"
#include "passes/layout.h"
#include "passes/pass.h"
#include "passes/shapes.h"

namespace onnxtool {
namespace {

struct Match {
  const Node& gemm;
  const Node* last;    // the Transpose behind; nullptr: none
  const Value *a, *b;  // of the new Gemm
  bool trans_a, trans_b;
};

bool is_matrix_transpose(const Node* n) {
  return n && n->is("Transpose") && n->has_input(0) && n->input(0).type().rank() == 2 &&
         perm_of(*n) == Perm{1, 0};
}

bool flag(const Node& gemm, const char* name) { return gemm.attr<int64_t>(name, 0) != 0; }

MatchOr<Match> match_behind(const Node& transpose) {
  const Node* gemm = transpose.has_input(0) ? transpose.input(0).producer() : nullptr;
  if (!gemm || !gemm->is("Gemm") || !gemm->has_input(0) || !gemm->has_input(1)) return no_match();
  if (!is_matrix_transpose(&transpose)) return no_match("axes do not change places");
  if (gemm->has_input(2)) return no_match("Gemm adds something");
  if (only_reader(transpose.input(0)) != &transpose) return no_match("product has another use");
  return Match{*gemm,
               &transpose,
               &gemm->input(1),
               &gemm->input(0),
               !flag(*gemm, "transB"),
               !flag(*gemm, "transA")};
}

MatchOr<Match> match(const Node& node) {
  if (node.is("Transpose")) return match_behind(node);
  if (!node.has_input(0) || !node.has_input(1)) return no_match();
  Match m{
      node, nullptr, &node.input(0), &node.input(1), flag(node, "transA"), flag(node, "transB")};
  bool found = false;
  const auto look_through = [&](const Value*& factor, bool& transposed) {
    const Node* maker = factor->producer();
    if (!is_matrix_transpose(maker)) return;
    factor = &maker->input(0);
    transposed = !transposed;
    found = true;
  };
  look_through(m.a, m.trans_a);
  look_through(m.b, m.trans_b);
  if (found) return m;
  for (int i = 0; i < 2; ++i)
    if (node.input(i).producer() && node.input(i).producer()->is("Transpose"))
      return no_match("axes do not change places");
  return no_match();
}

void rewrite(const Match& m, Rewriter& rw) {
  rw.set_input(m.gemm, 0, m.a);
  rw.set_input(m.gemm, 1, m.b);
  const auto set = [&](const char* name, bool on) {
    if (on)
      rw.set_attribute(m.gemm, Attribute::of(name, int64_t{1}));
    else
      rw.remove_attribute(m.gemm, name);
  };
  set("transA", m.trans_a);
  set("transB", m.trans_b);
  if (!m.last) return;
  const Value& product = m.gemm.output(0);
  const_cast<Value&>(product).set_type(m.last->output(0).type());
  rw.replace_uses(m.last->output(0), product);
  rw.remove(*m.last);
}

}  // namespace

constinit const PassInfo kFuseGemmTranspose{
    .name = "fuse-gemm-transpose",
    .summary = "take transpositions of matrices into the Gemm that reads or makes them",
    .roots = {"Gemm", "Transpose"},
    .level = Level::kBasic,
    .exactness = Exactness::kRounding,
    .run = run_rule<match, rewrite>};
}  // namespace onnxtool
