#include "passes/attention.h"

#include <algorithm>
#include <limits>

#include "passes/shapes.h"

namespace onnxtool {
namespace {

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

}  // namespace

const Value* untransposed(Pattern& p, const Value& value, const Perm& perm) {
  const Node* n = p.take(value, {"Transpose"});
  return n && n->has_input(0) && attribute_ints(*n, "perm") == perm ? &n->input(0) : nullptr;
}

namespace {

// What makes `flat`, once it is known which part of it the heads are.
MatchOr<Projection> find_product(Pattern& p, const Value& flat, Projection found) {
  const Node* product = nullptr;
  if (const Node* add = p.take(flat, {"Add"}))
    product = p.take_either(*add, {"MatMul"}, found.bias);
  else
    product = p.take(flat, {"MatMul"});
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

// The rows that the value is one of, along the first axis, which goes; nullptr: it is none.
const Value* rows_around(Pattern& p, const Value& value, int& row) {
  if (const Node* gather = p.take(value, {"Gather"})) {
    const auto index = constant_ints(*gather, 1);
    if (!gather->has_input(0) || !index || index->size() != 1 ||
        gather->input(1).type().rank() != 0 || gather->attr<int64_t>("axis", 0) != 0)
      return nullptr;
    row = static_cast<int>(std::clamp<int64_t>(index->front(), -1, 3));  // beyond 0 to 2: no third
    return &gather->input(0);
  }
  const Node* squeeze = p.take(value, {"Squeeze"});
  if (!squeeze || !squeeze->has_input(0) ||
      ints_of(*squeeze, "axes", 1, 13) != std::vector<int64_t>{0})
    return nullptr;
  const Node* split = p.take(squeeze->input(0), {"Split"});
  if (!split || !split->has_input(0) || split->num_outputs() != 3 ||
      split->attr<int64_t>("axis", 0) != 0)
    return nullptr;
  row = squeeze->input(0).producer_index();
  return &split->input(0);
}

}  // namespace

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
  return find_product(p, *flat, found);
}

MatchOr<Projection> find_third(Pattern& p, const Value* value) {
  Projection found{value};
  found.heads_first = true;
  const Value* rows = value ? rows_around(p, *value, found.part) : nullptr;
  const Value* parts = rows ? untransposed(p, *rows, {2, 0, 3, 1, 4}) : nullptr;
  const Node* reshape = parts ? p.take(*parts, {"Reshape"}) : nullptr;
  if (!reshape || !reshape->has_input(0)) return no_match("no projection is split into heads");
  const auto& shape = parts->type().shape;
  if (!shape || shape->size() != 5 || (*shape)[2].value != 3 || found.part < 0 || found.part > 2)
    return no_match("heads are no third of a projection");
  return find_product(p, reshape->input(0), found);
}

Value* bias_or_zeros(const Value* bias, int64_t count, Rewriter& rw) {
  if (bias) return const_cast<Value*>(bias);
  const std::vector<float> zeros(static_cast<size_t>(count));
  return &rw.add_constant(Tensor::vector(zeros), "qkv_bias");
}

bool is_over_keys(const Node& softmax) {
  const int64_t axis = softmax.attr<int64_t>("axis", softmax.opset() >= 13 ? -1 : 1);
  return axis == -1 || axis == 3;
}

std::optional<Weighted> find_weighted(Pattern& p, const Value& result) {
  const Node* product = p.take(result, {"MatMul"});
  const Node* softmax =
      product && product->has_input(0) ? p.take(product->input(0), {"Softmax"}) : nullptr;
  if (!softmax || !softmax->has_input(0) || !product->has_input(1) || !is_over_keys(*softmax))
    return std::nullopt;
  return Weighted{&softmax->input(0), &product->input(1)};
}

MatchOr<Scores> find_scores(Pattern& p, const Value& value) {
  const Node* product = p.take_any(value, {"MatMul", "FusedMatMul"});
  if (!product || product->num_inputs() != 2 || !product->has_input(0) || !product->has_input(1))
    return no_match("softmax is not of a product");
  if (product->attr<int64_t>("transA", 0) || product->attr<int64_t>("transBatchA", 0) ||
      product->attr<int64_t>("transBatchB", 0))
    return no_match("queries are transposed otherwise");
  return Scores{&product->input(0), &product->input(1), product->attr<int64_t>("transB", 0) != 0,
                product->attr<float>("alpha", 1)};
}

namespace {

// The scores in the sum of scores and a mask, which is nullptr where nothing is added.
MatchOr<Scores> find_masked_scores(Pattern& p, const Value& scored, const Value*& mask) {
  const Node* add = p.take(scored, {"Add"});
  if (!add) return find_scores(p, scored);
  const Node* scores = p.take_either(*add, {"MatMul"}, mask);
  for (int i = 0; i < 2 && !scores; ++i)
    if (add->has_input(i) && (scores = p.take_any(add->input(i), {"FusedMatMul"})))
      mask = &add->input(1 - i);
  if (!scores) return no_match("softmax is not of a product");
  return find_scores(p, scores->output(0));
}

}  // namespace

MatchOr<Attended> find_attended(Pattern& p, const Value& joined) {
  const Value* result = untransposed(p, joined, kHeadsFirst);
  const auto weighted = result ? find_weighted(p, *result) : std::nullopt;
  if (!weighted) return no_match();
  Attended a{{}, {}, nullptr, 1};
  const auto scores = find_masked_scores(p, *weighted->scored, a.mask);
  if (!scores) return no_match(scores.reason());
  a.scale = scores->scale;
  a.heads = {untransposed(p, *scores->query, kHeadsFirst),
             untransposed(p, *scores->key, scores->transposes_key ? kHeadsFirst : kKeysLast),
             untransposed(p, *weighted->values, kHeadsFirst)};
  a.heads_first = {
      scores->query,
      scores->transposes_key ? scores->key : untransposed(p, *scores->key, {0, 1, 3, 2}),
      weighted->values};
  return a;
}

MaskFit fit_of(const Value& mask, const Dim& batch, const Dim& heads, const Dim& rows,
               const Dim& keys) {
  const auto& shape = mask.type().shape;
  if (!shape || shape->empty() || shape->size() > 4) return MaskFit::kNone;
  const Dim wanted[] = {batch, heads, rows, keys};
  const size_t offset = 4 - shape->size();
  bool fits = offset == 0;
  for (size_t i = 0; i < shape->size(); ++i) {
    const Dim& d = (*shape)[i];
    if (same_dim(d, wanted[offset + i])) continue;
    if (d.value != 1) return MaskFit::kNone;
    fits &= offset + i < 2;
  }
  if (!same_dim(shape->back(), keys)) return MaskFit::kNone;
  if (fits) return MaskFit::kFits;
  // The number of rows is read off the keys.
  return same_dim(rows, keys) ? MaskFit::kExpands : MaskFit::kNone;
}

Value* expanded_mask(const Value& given, Rewriter& rw) {
  Value* mask = const_cast<Value*>(&given);
  Value* rows = nullptr;
  const auto vector = [&](std::vector<int64_t> v) {
    return &rw.add_constant(Tensor::vector(v), "extents");
  };
  if (const auto known = mask->type().shape->back().value) {
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
  return &rw.add_node("Expand", {mask, target}, {}, 1, mask->name()).output(0);
}

}  // namespace onnxtool
