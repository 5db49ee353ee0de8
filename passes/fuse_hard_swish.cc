// Makes one HardSwish of the nodes that compute it.
//
//   y = x * HardSigmoid<1/6, 1/2>(x)
//   y = x * Clip(x + 3, 0, 6) / 6        and with the scales elsewhere, as in x * Clip(x / 6 + 1/2,
//     =>                                 0, 1)
//   y = HardSwish(x)
//
// In any order of factors. Does not fire: intermediate results are used elsewhere; constants that
// differ; bounds that are not constant; opset below 14; types that HardSwish lacks.
// Source: ONNX HardSwish-14, whose body is the first form.

#include <cmath>

#include "libopt/analysis/clip.h"
#include "passes/formula.h"
#include "passes/pass.h"
#include "passes/shapes.h"

namespace onnxtool {
namespace {

constexpr int kFirstHardSwish = 14;

// ramp = Clip(polynomial in x, 0, top).
struct Ramp {
  Polynomial argument;
  double top;
};

std::optional<Ramp> ramp_of(Pattern& p, const Value& value, const Value& x) {
  const Node* n = p.take(value, {"HardSigmoid", "Clip"});
  if (!n || !n->has_input(0)) return std::nullopt;
  if (n->is("HardSigmoid")) {
    if (&n->input(0) != &x) return std::nullopt;
    return Ramp{{{0, n->attr<float>("beta", 0.5f)}, {1, n->attr<float>("alpha", 0.2f)}}, 1};
  }
  const auto bounds = clip_bounds(*n, std::numeric_limits<double>::infinity());
  if (!bounds || bounds->low != 0 || !(bounds->high > 0) || !std::isfinite(bounds->high))
    return std::nullopt;
  auto argument = polynomial_of(p, n->input(0), x);
  if (!argument) return std::nullopt;
  return Ramp{*std::move(argument), bounds->high};
}

struct Match {
  const Node& product;
  const Value& x;
};

MatchOr<Match> match(const Node& node, const PassContext& context) {
  if (node.opset() < 7) return no_match();
  Pattern p(node);
  const Product product = product_of(p, node);
  if (product.factors.size() != 2) return no_match();
  for (size_t i = 0; i < 2; ++i) {
    const Value &factor = *product.factors[i], &x = *product.factors[1 - i];
    const Node* maker = factor.producer();
    if (!maker || !(maker->is("HardSigmoid") || maker->is("Clip"))) continue;
    auto ramp = ramp_of(p, factor, x);
    if (!ramp) continue;
    for (auto& [power, c] : ramp->argument) c *= product.scale;
    const DataType type = x.type().dtype;
    if (!same_polynomial(ramp->argument, {{0, 0.5}, {1, 1.0 / 6}}, type) ||
        !same_polynomial({{0, ramp->top * product.scale}}, {{0, 1}}, type))
      return no_match("constants are not those of HardSwish");
    if (!same_rank(x, node.output(0))) return no_match(kMayEnlarge);
    if (!p.closed()) return no_match(Pattern::kOtherUse);
    if (type != DataType::kFloat && type != DataType::kFloat16 && type != DataType::kDouble)
      return no_match("type is not one of HardSwish's");
    if (!has_opset(node, kFirstHardSwish, context)) return no_match("HardSwish needs opset 14");
    return Match{node, x};
  }
  return no_match();
}

void rewrite(const Match& m, Rewriter& rw) {
  const Node& swish =
      rw.add_node("HardSwish", {const_cast<Value*>(&m.x)}, {}, 1, m.product.output(0).name());
  rw.replace_uses(m.product.output(0), swish.output(0));
  rw.remove(m.product);
}

}  // namespace

constinit const PassInfo kFuseHardSwish{
    .name = "fuse-hard-swish",
    .summary = "make one HardSwish of the nodes that compute it, where the opset has it",
    .roots = {"Mul", "Div"},
    .level = Level::kBasic,
    .exactness = Exactness::kRounding,
    .run = run_rule<match, rewrite>};
}  // namespace onnxtool
