// Makes one Attention of self-attention and the projections before it.
//
//   q, k, v = Transpose<0, 2, 1, 3>(Reshape(Add(MatMul(x, W), b), {batch, rows, heads, size})) W, b
//   for each y = Reshape(Transpose<0, 2, 1, 3>(MatMul(Softmax(scale * MatMul(q, k^T) + mask), v)),
//   {batch, rows, heads * size})
//     =>
//   y = com.microsoft.Attention<num_heads, scale>(x, [Wq, Wk, Wv], [bq, bk, bv], , , mask)
//
// Biases and mask may be absent; one MatMul may make q, k and v, with a Split behind it, or a
// Reshape, a Transpose and a Gather of each (attention.h, find_third). The scale is where
// fuse_scaled_matmul.cc puts it. A mask that is the same for all rows is expanded to them, once for
// all layers that share it. (A mask of integers can say the same in less, but only where it holds
// nothing but zeros and ones.) Does not fire: shapes that are not known to be these; projections of
// different values; weights that are not constant or used elsewhere; intermediate results used
// elsewhere; masks of other shapes; types other than float. Source: onnxruntime 1.31,
// docs/ContribOperators.md; optimizer/attention_fusion.cc.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "passes/attention.h"
#include "passes/pass.h"
#include "passes/shapes.h"

namespace onnxtool {
namespace {

struct Match {
  const Node& last;
  std::array<Projection, 3> parts;  // query, key, value
  const Value* mask;                // nullptr: none
  bool expand_mask;
  int64_t heads, size;
  double scale;
};

// Between the weights, given the shapes.
MatchOr<Match> check(Match m) {
  std::optional<std::vector<Dim>> shape = m.parts[0].heads->type().shape;
  const auto& x = m.parts[0].x->type().shape;
  // [batch, rows, heads, size] from here on.
  if (shape && shape->size() == 4 && m.parts[0].heads_first) std::swap((*shape)[1], (*shape)[2]);
  if (!shape || shape->size() != 4 || !(*shape)[2].value || !(*shape)[3].value || !x ||
      x->size() != 3)
    return no_match("heads and their size are not known");
  m.heads = *(*shape)[2].value;
  m.size = *(*shape)[3].value;
  const int64_t hidden = m.heads * m.size;
  const auto& out = m.last.output(0).type().shape;
  const bool restored = out && out->size() == 3 && same_dim((*out)[0], (*x)[0]) &&
                        same_dim((*out)[1], (*x)[1]) && (*out)[2].value == hidden;
  if (!restored || !same_dim((*shape)[0], (*x)[0]) || !same_dim((*shape)[1], (*x)[1]))
    return no_match("batch and rows are not known to be kept");
  for (int i = 0; i < 3; ++i) {
    const Projection& part = m.parts[static_cast<size_t>(i)];
    if (part.x != m.parts[0].x || part.heads_first != m.parts[0].heads_first ||
        !same_shape(*part.heads, *m.parts[0].heads))
      return no_match("queries, keys and values are projected from different values");
    if (part.part != (m.parts[0].part < 0 ? -1 : i) ||
        (part.part >= 0 && part.weight != m.parts[0].weight))
      return no_match("parts stand in another order");
    if (part.weight->constant()->dims()[1] != (part.part < 0 ? hidden : 3 * hidden))
      return no_match("heads and their size are not known");
  }
  if (m.parts[0].x->type().dtype != DataType::kFloat) return no_match("type is not float");
  if (!m.mask) return m;
  const MaskFit fit = fit_of(*m.mask, (*shape)[0], (*shape)[2], (*shape)[1], (*shape)[1]);
  constexpr int kFirstSliceByInputs = 10;
  m.expand_mask = fit == MaskFit::kExpands;
  if (fit == MaskFit::kNone || (m.expand_mask && m.last.opset() < kFirstSliceByInputs))
    return no_match("mask has another shape");
  return m;
}

MatchOr<Match> match(const Node& last) {
  if (!last.has_input(0) || !last.has_output(0)) return no_match();
  Pattern p(last);
  const auto attended = find_attended(p, last.input(0));
  if (!attended) return no_match(attended.reason());
  Match m{last, {}, attended->mask, false, 0, 0, attended->scale};
  for (size_t i = 0; i < 3; ++i) {
    const auto part = attended->heads[i] ? find_projection(p, attended->heads[i])
                                         : find_third(p, attended->heads_first[i]);
    if (!part) return no_match(part.reason());
    m.parts[i] = *part;
  }
  const auto checked = check(m);
  if (checked && !p.closed()) return no_match(Pattern::kOtherUse);
  return checked;
}

// The three side by side, row by row.
Tensor beside(const std::array<const Tensor*, 3>& parts, int64_t rows, int64_t columns,
              std::vector<int64_t> dims) {
  const size_t stride = static_cast<size_t>(columns) * sizeof(float);
  std::vector<std::byte> bytes(static_cast<size_t>(rows) * stride * 3);
  for (size_t row = 0; row < static_cast<size_t>(rows); ++row)
    for (size_t i = 0; i < 3; ++i)
      if (parts[i] && stride)
        std::memcpy(bytes.data() + (row * 3 + i) * stride, parts[i]->bytes().data() + row * stride,
                    stride);
  return Tensor::from_bytes(DataType::kFloat, std::move(dims), std::move(bytes));
}

void rewrite(const Match& m, Rewriter& rw) {
  const auto& [query, key, value] = m.parts;
  const int64_t hidden = m.heads * m.size;
  std::vector<Value*> inputs = {const_cast<Value*>(query.x)};
  if (query.part >= 0) {
    inputs.push_back(const_cast<Value*>(query.weight));
    inputs.push_back(bias_or_zeros(query.bias, 3 * hidden, rw));
  } else {
    const int64_t depth = query.weight->constant()->dims()[0];
    inputs.push_back(&rw.add_constant(
        beside({query.weight->constant(), key.weight->constant(), value.weight->constant()}, depth,
               hidden, {depth, 3 * hidden}),
        query.weight->name()));
    const auto bias = [](const Projection& p) { return p.bias ? p.bias->constant() : nullptr; };
    inputs.push_back(&rw.add_constant(
        beside({bias(query), bias(key), bias(value)}, 1, hidden, {3 * hidden}), "qkv_bias"));
  }
  if (m.mask)
    inputs.insert(inputs.end(),
                  {nullptr, nullptr,
                   m.expand_mask ? expanded_mask(*m.mask, rw) : const_cast<Value*>(m.mask)});
  std::vector<Attribute> attributes;
  attributes.push_back(Attribute::of("num_heads", m.heads));
  const double usual = 1 / std::sqrt(static_cast<double>(m.size));
  if (std::abs(m.scale - usual) > 1e-6 * usual)
    attributes.push_back(Attribute::of("scale", static_cast<float>(m.scale)));
  const Node& attention = rw.add_node("Attention", inputs, std::move(attributes), 1,
                                      m.last.output(0).name(), "com.microsoft");
  rw.replace_uses(m.last.output(0), attention.output(0));
  rw.remove(m.last);
}

}  // namespace

constinit const PassInfo kFuseAttention{
    .name = "fuse-attention",
    .summary = "make one Attention of self-attention and the projections before it",
    .roots = {"Reshape"},
    .level = Level::kExtended,
    .exactness = Exactness::kRounding,
    .run = run_rule<match, rewrite>};
}  // namespace onnxtool
