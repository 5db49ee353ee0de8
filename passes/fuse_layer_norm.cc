// Makes one LayerNormalization of the nodes that compute it.
//
//   d = x - mean(x)
//   y = d / sqrt(mean(d^2) + epsilon) * scale + bias      bias may be absent
//     =>
//   y = LayerNormalization<axis, epsilon>(x, scale, bias)
//
// The quotient may be written as a product with Reciprocal, or with Pow, the square as Pow or Mul;
// sums and products in any order. Does not fire: means are not over the last axes, or do not keep
// them; scale or bias are not known to have just those extents; intermediate results are used
// elsewhere; opset below 17, unless the target is onnxruntime, which has the operator in any opset;
// double, whose moments the operator takes in float. Source: ONNX LayerNormalization-17.

#include "passes/normalization.h"
#include "passes/pass.h"
#include "passes/shapes.h"

namespace onnxtool {
namespace {

struct Match {
  const Node& last;
  const Value &x, &scale;
  const Value* bias;
  Normalized normalized;
};

constexpr int kFirstLayerNormalization = 17;

struct Scaled {
  const Value *x, *scale;
  Normalized normalized;
};

MatchOr<Scaled> find_scaled(Pattern& p, const Node& product) {
  for (int i = 0; i < 2; ++i) {
    const Value &y = product.input(i), &scale = product.input(1 - i);
    const Node* maker = y.producer();
    if (!maker || !(maker->is("Div") || maker->is("Mul"))) continue;
    const auto n = find_normalized(p, y);
    if (!n) {
      if (n.reason()) return no_match(n.reason());
      continue;
    }
    const Node* centred = p.take(*n->x, {"Sub"});
    if (!centred || centred->num_inputs() != 2 || !centred->has_input(0) || !centred->has_input(1))
      return no_match();
    const Value& x = centred->input(0);
    const Node* mean = p.take(centred->input(1), {"ReduceMean"});
    if (!mean || trailing_axis(*mean) != n->axis || &mean->input(0) != &x)
      return no_match("what is subtracted is not the mean");
    if (!fits_axes(scale, x, n->axis))
      return no_match("scale is not known to have the extents of the last axes");
    return Scaled{&x, &scale, *n};
  }
  return no_match();
}

// The addition of a bias behind the product, if that is one.
bool adds_bias(const Node& product, const Value& x, int64_t axis) {
  const Node* add = only_reader(product.output(0));
  if (!add || !add->is("Add") || add->num_inputs() != 2 || !add->has_input(0) || !add->has_input(1))
    return false;
  return fits_axes(add->input(&add->input(0) == &product.output(0) ? 1 : 0), x, axis);
}

MatchOr<Match> match(const Node& last, const PassContext& context) {
  if (last.opset() < 7 || last.num_inputs() != 2 || !last.has_input(0) || !last.has_input(1))
    return no_match();
  Pattern p(last);
  const Value* bias = nullptr;
  const Node* product = last.is("Mul") ? &last : p.take_either(last, {"Mul"}, bias);
  if (!product || product->num_inputs() != 2 || !product->has_input(0) || !product->has_input(1))
    return no_match();
  const auto scaled = find_scaled(p, *product);
  if (!scaled) return scaled.reason() ? no_match(scaled.reason()) : no_match();
  if (bias && !fits_axes(*bias, *scaled->x, scaled->normalized.axis)) return no_match();
  if (!bias && adds_bias(last, *scaled->x, scaled->normalized.axis))
    return no_match();  // that Add is offered too
  if (!same_rank(*scaled->x, last.output(0))) return no_match(kMayEnlarge);
  if (!p.closed()) return no_match(Pattern::kOtherUse);
  const DataType type = scaled->x->type().dtype;
  if (!is_float(type) || type == DataType::kDouble) return no_match("type is double or not known");
  if (!(context.ort_cpu && type == DataType::kFloat) &&
      !has_opset(last, kFirstLayerNormalization, context))
    return no_match("LayerNormalization needs opset 17");
  return Match{last, *scaled->x, *scaled->scale, bias, scaled->normalized};
}

void rewrite(const Match& m, Rewriter& rw) {
  std::vector<Value*> inputs = {const_cast<Value*>(&m.x), const_cast<Value*>(&m.scale)};
  if (m.bias) inputs.push_back(const_cast<Value*>(m.bias));
  std::vector<Attribute> attributes;
  attributes.push_back(Attribute::of("axis", m.normalized.axis));
  attributes.push_back(Attribute::of("epsilon", m.normalized.epsilon));
  const Node& norm =
      rw.add_node("LayerNormalization", inputs, std::move(attributes), 1, m.last.output(0).name());
  rw.replace_uses(m.last.output(0), norm.output(0));
  rw.remove(m.last);
}

}  // namespace

constinit const PassInfo kFuseLayerNorm{.name = "fuse-layer-norm",
                                        .summary =
                                            "make one LayerNormalization of the nodes that compute "
                                            "it, where the opset or the target has it",
                                        .roots = {"Add", "Mul"},
                                        .level = Level::kBasic,
                                        .exactness = Exactness::kRounding,
                                        .run = run_rule<match, rewrite>};
}  // namespace onnxtool
