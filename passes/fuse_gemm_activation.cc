// Makes one FusedGemm of a Gemm and the activation behind it.
//
//   y = Relu(Gemm(A, B, C))
//     =>
//   y = com.microsoft.FusedGemm<activation = "Relu">(A, B, C)
//
// Relu, Sigmoid, Tanh, LeakyRelu (alpha), HardSigmoid (alpha, beta).
// Does not fire: the product is used elsewhere; types other than float; dequantized factors,
// whose product runtimes run on integers; Gemm before opset 7, which broadcast
// its C by an attribute.
// Source: onnxruntime 1.31, docs/ContribOperators.md; optimizer/gemm_activation_fusion.cc.

#include "libopt/rewrite/pattern.h"
#include "passes/pass.h"

namespace onnxtool {
namespace {

struct Match {
  const Node& gemm;
  const Node& activation;
};

MatchOr<Match> match(const Node& activation) {
  if (!activation.has_input(0) || !activation.has_output(0)) return no_match();
  const Node* gemm = activation.input(0).producer();
  if (!gemm || !gemm->is("Gemm") || &gemm->graph() != &activation.graph()) return no_match();
  if (gemm->opset() < 7) return no_match("opset below 7 broadcasts by attribute");
  if (!activation.input(0).has_one_use()) return no_match("product has another use");
  if (activation.input(0).type().dtype != DataType::kFloat) return no_match("type is not float");
  if (reads_dequantized(*gemm)) return no_match("layer is one that runs on integers");
  return Match{*gemm, activation};
}

void rewrite(const Match& m, Rewriter& rw) {
  rw.set_op(m.gemm, "FusedGemm", "com.microsoft");
  rw.set_attribute(m.gemm, Attribute::of("activation", m.activation.op_type()));
  if (m.activation.is("LeakyRelu"))
    rw.set_attribute(m.gemm,
                     Attribute::of("activation_alpha", m.activation.attr<float>("alpha", 0.01f)));
  if (m.activation.is("HardSigmoid")) {
    rw.set_attribute(m.gemm,
                     Attribute::of("activation_alpha", m.activation.attr<float>("alpha", 0.2f)));
    rw.set_attribute(m.gemm,
                     Attribute::of("activation_beta", m.activation.attr<float>("beta", 0.5f)));
  }
  rw.replace_uses(m.activation.output(0), m.gemm.output(0));
  rw.remove(m.activation);
}

}  // namespace

constinit const PassInfo kFuseGemmActivation{
    .name = "fuse-gemm-activation",
    .summary = "make one FusedGemm of a Gemm and the activation behind it",
    .roots = {"Relu", "Sigmoid", "Tanh", "LeakyRelu", "HardSigmoid"},
    .level = Level::kExtended,
    .exactness = Exactness::kRounding,
    .run = run_rule<match, rewrite>};
}  // namespace onnxtool
