// Makes one operator of Gelu or FastGelu and the addition of a row before it.
//
//   y = Gelu(Add(x, b))        =>   y = com.microsoft.BiasGelu(x, b)
//   y = FastGelu(Add(x, b))    =>   y = com.microsoft.FastGelu(x, b)
//
// b is [C], C the last extent of x. Gelu is the standard's or com.microsoft's, and is a FastGelu
// where it is approximated with tanh; Add in either order of inputs.
// Does not fire: the sum is used elsewhere; b is not known to be a vector of the last extent; types
// other than float. Source: onnxruntime 1.31,
// docs/ContribOperators.md; optimizer/bias_gelu_fusion.cc.

#include "libopt/rewrite/pattern.h"
#include "passes/pass.h"
#include "passes/shapes.h"

namespace onnxtool {
namespace {

struct Match {
  const Node& gelu;
  const Value& x;
  const Value& bias;
};

MatchOr<Match> match(const Node& gelu) {
  if (gelu.num_inputs() != 1 || !gelu.has_input(0)) return no_match();
  Pattern p(gelu);
  const Node* add = p.take(gelu.input(0), {"Add"});
  if (!add || add->opset() < 7 || add->num_inputs() != 2 || !add->has_input(0) ||
      !add->has_input(1))
    return no_match();
  if (!p.closed()) return no_match("sum has another use");
  if (gelu.input(0).type().dtype != DataType::kFloat) return no_match("type is not float");
  for (int i = 0; i < 2; ++i)
    if (is_row_of(add->input(i), add->input(1 - i)))
      return Match{gelu, add->input(1 - i), add->input(i)};
  return no_match("addend is not known to be a vector of the last extent");
}

void rewrite(const Match& m, Rewriter& rw) {
  const bool fast = m.gelu.is("FastGelu", "com.microsoft") ||
                    m.gelu.attr<std::string>("approximate", "none") == "tanh";
  rw.set_op(m.gelu, fast ? "FastGelu" : "BiasGelu", "com.microsoft");
  rw.remove_attribute(m.gelu, "approximate");
  rw.set_input(m.gelu, 0, &m.x);
  rw.set_input(m.gelu, 1, &m.bias);
}

}  // namespace

constinit const PassInfo kFuseBiasGelu{
    .name = "fuse-bias-gelu",
    .summary = "make one BiasGelu or FastGelu of it and the bias before it",
    .roots = {"Gelu", "com.microsoft.Gelu", "com.microsoft.FastGelu"},
    .level = Level::kExtended,
    .exactness = Exactness::kRounding,
    .run = run_rule<match, rewrite>};
}  // namespace onnxtool
