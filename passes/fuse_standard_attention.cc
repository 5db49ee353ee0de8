// Makes one of the standard's Attention of the nodes that compute it.
//
//   y = MatMul(Softmax(scale * MatMul(q, Transpose<0, 1, 3, 2>(k)) + mask), v)      all of four
//   axes
//     =>
//   y = Attention<scale>(q, k, v, mask)
//
// The scale is a number that the product or its factors are multiplied with or divided by; keys may
// be transposed from [batch, rows, heads, size] at once; the mask may be absent. Does not fire:
// batch and heads not known to be the same; a mask of another shape than [batch or 1, heads or 1,
// rows, keys]; a mask that may be -inf in all of a row, of which Softmax makes NaN and Attention 0
// (mask_bound.h); intermediate results used elsewhere; opset below 23; types other than float;
// onnxruntime's CPU provider, for which com.microsoft has attention with the projections in it
// (fuse_attention.cc). Source: ONNX Attention-23.

#include <cmath>

#include "passes/attention.h"
#include "passes/mask_bound.h"
#include "passes/pass.h"
#include "passes/shapes.h"

namespace onnxtool {
namespace {

constexpr int kFirstAttention = 23;
const Perm kSwapped = {0, 1, 3, 2};

struct Match {
  const Node& last;
  const Value *query, *key, *value, *mask;  // mask: nullptr: none
  bool rows_first;                          // the key is [batch, rows, heads, size]
  double scale;
};

// What is left of the value without numbers that it is multiplied with or divided by.
const Value* unscaled(Pattern& p, const Value& value, double& scale) {
  const Value* v = &value;
  while (const Node* n = v->producer()) {
    if (!(n->is("Mul") || n->is("Div"))) break;
    const Value* rest = nullptr;
    const auto number = scalar_operand(*n, rest);
    if (!number || !same_rank(*rest, *v) || (n->is("Div") && rest != &n->input(0))) break;
    p.take(*v, {"Mul", "Div"});
    scale = n->is("Mul") ? scale * *number : scale / *number;
    v = rest;
  }
  return v;
}

const Node* product_below(Pattern& p, const Value& value, double& scale) {
  const Node* n = p.take(*unscaled(p, value, scale), {"MatMul"});
  return n && n->num_inputs() == 2 && n->has_input(0) && n->has_input(1) ? n : nullptr;
}

// The product whose scaled sum with a mask the value is.
const Node* find_product(Pattern& p, const Value& scored, const Value*& mask, double& scale) {
  const Node* add = p.take(scored, {"Add"});
  if (!add || add->num_inputs() != 2 || !add->has_input(0) || !add->has_input(1))
    return product_below(p, scored, scale);
  for (int i = 0; i < 2; ++i) {
    mask = &add->input(1 - i);
    if (const Node* product = product_below(p, add->input(i), scale)) return product;
    scale = 1;
  }
  return nullptr;
}

const char* why_not_shapes(const Match& m) {
  const auto &q = m.query->type().shape, &k = m.key->type().shape, &v = m.value->type().shape;
  if (!q || !k || !v || q->size() != 4 || k->size() != 4 || v->size() != 4)
    return "factors are not known to have four axes";
  const size_t heads = m.rows_first ? 2 : 1, rows = m.rows_first ? 1 : 2;
  if (!same_dim((*q)[0], (*k)[0]) || !same_dim((*q)[0], (*v)[0]) ||
      !same_dim((*q)[1], (*k)[heads]) || !same_dim((*q)[1], (*v)[1]))
    return "batch and heads are not known to be the same";
  if (m.mask && fit_of(*m.mask, (*q)[0], (*q)[1], (*q)[2], (*k)[rows]) != MaskFit::kFits)
    return "mask has another shape";
  return nullptr;
}

MatchOr<Match> match(const Node& last, const PassContext& context) {
  if (context.ort_cpu || !last.has_input(0) || !last.has_output(0)) return no_match();
  Pattern p(last);
  const Node* softmax = p.take(last.input(0), {"Softmax"});
  if (!softmax || !softmax->has_input(0) || !last.has_input(1)) return no_match();
  if (!is_over_keys(*softmax)) return no_match("Softmax is not over the keys");
  Match m{last, nullptr, nullptr, &last.input(1), nullptr, false, 1};
  const Node* product = find_product(p, softmax->input(0), m.mask, m.scale);
  if (!product) return no_match("Softmax is not of a product");
  m.query = unscaled(p, product->input(0), m.scale);
  const Value* keys = unscaled(p, product->input(1), m.scale);
  m.key = untransposed(p, *keys, kSwapped);
  if (!m.key) {
    m.key = untransposed(p, *keys, kKeysLast);
    m.rows_first = true;
  }
  if (!m.key) return no_match("keys are not transposed");
  if (!m.rows_first) m.key = unscaled(p, *m.key, m.scale);
  if (const char* reason = why_not_shapes(m)) return no_match(reason);
  if (!(m.scale > 0) || !std::isfinite(m.scale)) return no_match("scale is not positive");
  if (last.output(0).type().dtype != DataType::kFloat) return no_match("type is not float");
  if (m.mask && may_hide_all_keys(*m.mask)) return no_match("mask may hide all keys from a row");
  if (!p.closed()) return no_match(Pattern::kOtherUse);
  if (!has_opset(last, kFirstAttention, context)) return no_match("Attention needs opset 23");
  return m;
}

void rewrite(const Match& m, Rewriter& rw) {
  Value* key = const_cast<Value*>(m.key);
  if (m.rows_first) {
    std::vector<Attribute> order;
    order.push_back(Attribute::of("perm", std::vector<int64_t>(kHeadsFirst)));
    key = &rw.add_node("Transpose", {key}, std::move(order), 1, m.key->name()).output(0);
  }
  std::vector<Value*> inputs = {const_cast<Value*>(m.query), key, const_cast<Value*>(m.value)};
  if (m.mask) inputs.push_back(const_cast<Value*>(m.mask));
  std::vector<Attribute> attributes;
  attributes.push_back(Attribute::of("scale", static_cast<float>(m.scale)));
  const Node& attention =
      rw.add_node("Attention", inputs, std::move(attributes), 1, m.last.output(0).name());
  rw.replace_uses(m.last.output(0), attention.output(0));
  rw.remove(m.last);
}

}  // namespace

constinit const PassInfo kFuseStandardAttention{
    .name = "fuse-standard-attention",
    .summary =
        "make one Attention of the standard's of the nodes that compute it, where the opset "
        "has it",
    .roots = {"MatMul"},
    .level = Level::kBasic,
    .exactness = Exactness::kRounding,
    .run = run_rule<match, rewrite>};
}  // namespace onnxtool
