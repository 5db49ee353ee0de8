// Makes one RMSNormalization of the nodes that compute it.
//
//   y = x / sqrt(mean(x^2) + epsilon) * scale
//     =>
//   y = RMSNormalization<axis, epsilon>(x, scale)                from opset 23 on
//   y = SimplifiedLayerNormalization<axis, epsilon>(x, scale)    before, for onnxruntime
//
// The quotient may be written as a product with Reciprocal, or with Pow, the square as Pow or Mul;
// products in any order. Does not fire: the mean is not over the last axes, or does not keep them;
// scale is not known to have just those extents; intermediate results are used elsewhere; opset
// below 23 for any runtime; types other than float. Source: ONNX RMSNormalization-23;
// onnxruntime 1.31, docs/ContribOperators.md.

#include "passes/normalization.h"
#include "passes/pass.h"
#include "passes/shapes.h"

namespace onnxtool {
namespace {

struct Match {
  const Node& product;
  const Value& scale;
  Normalized normalized;
  bool standard;
};

constexpr int kFirstRmsNormalization = 23;

MatchOr<Match> match(const Node& product, const PassContext& context) {
  if (product.opset() < 7 || product.num_inputs() != 2 || !product.has_input(0) ||
      !product.has_input(1))
    return no_match();
  for (int i = 0; i < 2; ++i) {
    const Node* maker = product.input(i).producer();
    if (!maker || !(maker->is("Div") || maker->is("Mul"))) continue;
    Pattern p(product);
    const auto n = find_normalized(p, product.input(i));
    if (!n && n.reason()) return no_match(n.reason());
    if (!n) continue;
    const Node* source = n->x->producer();
    if (source && source->is("Sub") && source->has_input(1) && source->input(1).producer() &&
        source->input(1).producer()->is("ReduceMean"))
      return no_match();  // a LayerNormalization
    const Value& scale = product.input(1 - i);
    if (!fits_axes(scale, *n->x, n->axis))
      return no_match("scale is not known to have the extents of the last axes");
    if (!same_rank(*n->x, product.output(0))) return no_match(kMayEnlarge);
    if (!p.closed()) return no_match(Pattern::kOtherUse);
    if (n->x->type().dtype != DataType::kFloat) return no_match("type is not float");
    const bool standard = product.opset() >= kFirstRmsNormalization;
    if (!standard && !context.ort_cpu && !has_opset(product, kFirstRmsNormalization, context))
      return no_match("RMSNormalization needs opset 23");
    return Match{product, scale, *n, standard};
  }
  return no_match();
}

void rewrite(const Match& m, Rewriter& rw) {
  std::vector<Attribute> attributes;
  attributes.push_back(Attribute::of("axis", m.normalized.axis));
  attributes.push_back(Attribute::of("epsilon", m.normalized.epsilon));
  const Node& norm = rw.add_node(m.standard ? "RMSNormalization" : "SimplifiedLayerNormalization",
                                 {const_cast<Value*>(m.normalized.x), const_cast<Value*>(&m.scale)},
                                 std::move(attributes), 1, m.product.output(0).name());
  rw.replace_uses(m.product.output(0), norm.output(0));
  rw.remove(m.product);
}

}  // namespace

constinit const PassInfo kFuseRmsNorm{.name = "fuse-rms-norm",
                                      .summary =
                                          "make one RMSNormalization of the nodes that compute it, "
                                          "where the opset or the target has it",
                                      .roots = {"Mul"},
                                      .level = Level::kBasic,
                                      .exactness = Exactness::kRounding,
                                      .run = run_rule<match, rewrite>};
}  // namespace onnxtool
