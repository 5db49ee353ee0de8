// Makes one Attention of self-attention and the projections before it.
//
//   q, k, v = Transpose<0, 2, 1, 3>(Reshape(Add(MatMul(x, W), b), {batch, rows, heads, size})) W, b
//   for each y = Reshape(Transpose<0, 2, 1, 3>(MatMul(Softmax(scale * MatMul(q, k^T) + mask), v)),
//   {batch, rows, heads * size})
//     =>
//   y = com.microsoft.Attention<num_heads, scale>(x, [Wq, Wk, Wv], [bq, bk, bv], , , mask)
//
// Biases and mask may be absent; one MatMul may make q, k and v, with a Split behind it. The scale
// is where fuse_scaled_matmul.cc puts it. A mask that is the same for all rows is expanded to them,
// once for all layers that share it. (A mask of integers can say the same in less, but only where
// it holds nothing but zeros and ones.) Does not fire: shapes that are not known to be these;
// projections of different values; weights that are not constant or used elsewhere; intermediate
// results used elsewhere; masks of other shapes; types other than float. Source: onnxruntime 1.31,
// docs/ContribOperators.md; optimizer/attention_fusion.cc.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "libopt/rewrite/pattern.h"
#include "passes/layout.h"
#include "passes/pass.h"
#include "passes/shapes.h"

namespace onnxtool {
namespace {

// What makes the queries, keys or values of all heads.
struct Projection {
  const Value* heads;  // [batch, rows, heads, size]
  const Value* x = nullptr;
  const Value* weight = nullptr;
  const Value* bias = nullptr;  // absent: none
  int part = -1;                // of a Split into three; -1: all of it
};

struct Match {
  const Node& last;
  std::array<Projection, 3> parts;  // query, key, value
  const Value* mask;                // nullptr: none
  bool expand_mask;
  int64_t heads, size;
  double scale;
};

const Perm kHeadsFirst = {0, 2, 1, 3}, kKeysLast = {0, 2, 3, 1};

// What the Transpose that makes the value reads, if its order is that.
const Value* untransposed(Pattern& p, const Value& value, const Perm& perm) {
  const Node* n = p.take(value, {"Transpose"});
  return n && n->has_input(0) && attribute_ints(*n, "perm") == perm ? &n->input(0) : nullptr;
}

bool is_thirds(const Node& split) {
  if (split.num_outputs() != 3 || !split.has_input(0) || !split.has_output(0) ||
      !split.has_output(1) || !split.has_output(2))
    return false;
  const auto rank = split.input(0).type().rank();
  const int64_t axis = split.attr<int64_t>("axis", 0);
  if (!rank || (axis != -1 && axis != *rank - 1)) return false;
  return same_shape(split.output(0), split.output(1)) &&
         same_shape(split.output(0), split.output(2));
}

MatchOr<Projection> find_projection(Pattern& p, const Value* heads) {
  const Node* reshape = heads ? p.take(*heads, {"Reshape"}) : nullptr;
  if (!reshape || !reshape->has_input(0)) return no_match("no projection is split into heads");
  Projection found{heads};
  const Value* flat = &reshape->input(0);
  if (const Node* split = p.take(*flat, {"Split"})) {
    if (!is_thirds(*split)) return no_match("split is not into three equal parts of the last axis");
    found.part = flat->producer_index();
    flat = &split->input(0);
  }
  const Node* product = nullptr;
  if (const Node* add = p.take(*flat, {"Add"}))
    product = p.take_either(*add, {"MatMul"}, found.bias);
  else
    product = p.take(*flat, {"MatMul"});
  if (!product || product->num_inputs() != 2 || !product->has_input(0) || !product->has_input(1))
    return no_match("heads are made by no MatMul");
  found.x = &product->input(0);
  found.weight = &product->input(1);
  const Tensor* w = found.weight->constant();
  const Tensor* b = found.bias ? found.bias->constant() : nullptr;
  if (!w || w->rank() != 2 || (found.bias && !(b && b->rank() == 1 && b->count() == w->dims()[1])))
    return no_match("weight or bias of a projection is not constant");
  if (found.part < 0 && !found.weight->has_one_use())
    return no_match("weight is shared: the file would grow");
  return found;
}

// The product of queries and keys, and its scale.
struct Scores {
  const Value *query = nullptr, *key = nullptr;
  double scale = 1;
};

MatchOr<Scores> find_scores(Pattern& p, const Value& value) {
  const Node* product = p.take_any(value, {"MatMul", "FusedMatMul"});
  if (!product || product->num_inputs() != 2 || !product->has_input(0) || !product->has_input(1))
    return no_match("softmax is not of a product");
  if (product->attr<int64_t>("transA", 0) || product->attr<int64_t>("transBatchA", 0) ||
      product->attr<int64_t>("transBatchB", 0))
    return no_match("queries are transposed otherwise");
  const bool transposes = product->attr<int64_t>("transB", 0) != 0;
  return Scores{untransposed(p, product->input(0), kHeadsFirst),
                untransposed(p, product->input(1), transposes ? kHeadsFirst : kKeysLast),
                product->attr<float>("alpha", 1)};
}

// 1: fits as it is; 0: has to be expanded; -1: does not fit. `heads` is [batch, rows, heads, size].
int fit_of(const Value& mask, const std::vector<Dim>& heads) {
  const auto& shape = mask.type().shape;
  if (!shape || shape->empty() || shape->size() > 4) return -1;
  const Dim wanted[] = {heads[0], heads[2], heads[1], heads[1]};
  const size_t offset = 4 - shape->size();
  bool fits = offset == 0;
  for (size_t i = 0; i < shape->size(); ++i) {
    const Dim& d = (*shape)[i];
    if (same_dim(d, wanted[offset + i])) continue;
    if (d.value != 1) return -1;
    fits &= offset + i < 2;
  }
  // The number of rows is read off the mask.
  return same_dim(shape->back(), heads[1]) ? fits : -1;
}

bool is_over_last_axis(const Node& softmax) {
  const int64_t axis = softmax.attr<int64_t>("axis", softmax.opset() >= 13 ? -1 : 1);
  return axis == -1 || axis == 3;
}

// Between the weights, given the shapes.
MatchOr<Match> check(Match m) {
  const auto& shape = m.parts[0].heads->type().shape;
  const auto& x = m.parts[0].x->type().shape;
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
    if (part.x != m.parts[0].x || !same_shape(*part.heads, *m.parts[0].heads))
      return no_match("queries, keys and values are projected from different values");
    if (part.part != (m.parts[0].part < 0 ? -1 : i) ||
        (part.part >= 0 && part.weight != m.parts[0].weight))
      return no_match("parts stand in another order");
    if (part.weight->constant()->dims()[1] != (part.part < 0 ? hidden : 3 * hidden))
      return no_match("heads and their size are not known");
  }
  if (m.parts[0].x->type().dtype != DataType::kFloat) return no_match("type is not float");
  if (!m.mask) return m;
  const int fit = fit_of(*m.mask, *shape);
  constexpr int kFirstSliceByInputs = 10;
  if (fit < 0 || (fit == 0 && m.last.opset() < kFirstSliceByInputs))
    return no_match("mask has another shape");
  m.expand_mask = fit == 0;
  return m;
}

MatchOr<Match> match(const Node& last) {
  if (!last.has_input(0) || !last.has_output(0)) return no_match();
  Pattern p(last);
  const Value* result = untransposed(p, last.input(0), kHeadsFirst);
  const Node* product = result ? p.take(*result, {"MatMul"}) : nullptr;
  const Node* softmax =
      product && product->has_input(0) ? p.take(product->input(0), {"Softmax"}) : nullptr;
  if (!softmax || !softmax->has_input(0) || !product->has_input(1) || !is_over_last_axis(*softmax))
    return no_match();
  Match m{last, {}, nullptr, false, 0, 0, 1};
  const Value* scored = &softmax->input(0);
  if (const Node* add = p.take(*scored, {"Add"})) {
    const Node* scores = p.take_either(*add, {"MatMul"}, m.mask);
    for (int i = 0; i < 2 && !scores; ++i)
      if (add->has_input(i) && (scores = p.take_any(add->input(i), {"FusedMatMul"})))
        m.mask = &add->input(1 - i);
    if (!scores) return no_match("softmax is not of a product");
    scored = &scores->output(0);
  }
  const auto scores = find_scores(p, *scored);
  if (!scores) return no_match(scores.reason());
  m.scale = scores->scale;
  const Value* heads[] = {scores->query, scores->key,
                          untransposed(p, product->input(1), kHeadsFirst)};
  for (size_t i = 0; i < 3; ++i) {
    const auto part = find_projection(p, heads[i]);
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

Value* expanded(const Match& m, Rewriter& rw) {
  Value* mask = const_cast<Value*>(m.mask);
  Value* rows = nullptr;
  const auto vector = [&](std::vector<int64_t> v) {
    return &rw.add_constant(Tensor::vector(v), "extents");
  };
  if (const auto known = m.mask->type().shape->back().value) {
    rows = vector({*known});
  } else {
    Value* shape = &rw.add_node("Shape", {mask}).output(0);
    rows =
        &rw.add_node("Slice", {shape, vector({-1}), vector({std::numeric_limits<int64_t>::max()})})
             .output(0);
  }
  std::vector<Attribute> axis;
  axis.push_back(Attribute::of("axis", int64_t{0}));
  Value* target = &rw.add_node("Concat", {vector({1, 1}), rows, rows}, std::move(axis)).output(0);
  return &rw.add_node("Expand", {mask, target}, {}, 1, m.mask->name()).output(0);
}

void rewrite(const Match& m, Rewriter& rw) {
  const auto& [query, key, value] = m.parts;
  const int64_t hidden = m.heads * m.size;
  std::vector<Value*> inputs = {const_cast<Value*>(query.x)};
  if (query.part >= 0) {
    inputs.push_back(const_cast<Value*>(query.weight));
    inputs.push_back(const_cast<Value*>(query.bias));
  } else {
    const int64_t depth = query.weight->constant()->dims()[0];
    inputs.push_back(&rw.add_constant(
        beside({query.weight->constant(), key.weight->constant(), value.weight->constant()}, depth,
               hidden, {depth, 3 * hidden}),
        query.weight->name()));
    const auto bias = [](const Projection& p) { return p.bias ? p.bias->constant() : nullptr; };
    const bool any = query.bias || key.bias || value.bias;
    inputs.push_back(any ? &rw.add_constant(beside({bias(query), bias(key), bias(value)}, 1, hidden,
                                                   {3 * hidden}),
                                            "qkv_bias")
                         : nullptr);
  }
  if (m.mask)
    inputs.insert(inputs.end(),
                  {nullptr, nullptr, m.expand_mask ? expanded(m, rw) : const_cast<Value*>(m.mask)});
  while (!inputs.back()) inputs.pop_back();
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
