// Makes one SkipLayerNormalization of a normalization and the addition before it.
//
//   y = LayerNormalization(Add(x, skip), scale, bias)
//     =>
//   y, , , sum = com.microsoft.SkipLayerNormalization(x, skip, scale, bias)
//
// SimplifiedLayerNormalization gives SkipSimplifiedLayerNormalization. The sum is given out only
// where something else reads it. A row that is added to x or skip before is the operator's own
// bias. Does not fire: the two are not known to have the same shape, of three axes; the
// normalization is over more than the last axis, or gives out its moments; an extent is 0; types
// other than float.
//
// onnxruntime's kernel takes 4 to 10 times as long as the two nodes (2 times where it is a
// simplified one; 128 rows of 768, one thread and two), so this fires only where it is asked for.
// Source: onnxruntime 1.31, docs/ContribOperators.md; optimizer/skip_layer_norm_fusion.cc.

#include <algorithm>

#include "libopt/rewrite/pattern.h"
#include "passes/pass.h"
#include "passes/shapes.h"

namespace onnxtool {
namespace {

struct Match {
  const Node& norm;
  const Node& sum;
  const Value *x, *skip;
  const Value* row;  // nullptr: none
};

bool over_last_axis(const Node& norm) {
  const auto axis = norm.attr<int64_t>("axis", -1);
  return axis == -1 || axis == 2;
}

// The two addends of a sum with a row, if `value` is one that nothing else reads.
bool take_row(const Value& value, const Value*& rest, const Value*& row) {
  const Node* add = value.has_one_use() ? value.producer() : nullptr;
  if (!add || !add->is("Add") || add->num_inputs() != 2 || !add->has_input(0) || !add->has_input(1))
    return false;
  for (int i = 0; i < 2; ++i) {
    if (!is_row_of(add->input(i), add->input(1 - i)) || !same_shape(add->input(1 - i), value))
      continue;
    row = &add->input(i);
    rest = &add->input(1 - i);
    return true;
  }
  return false;
}

MatchOr<Match> match(const Node& norm, const PassContext& context) {
  if (!norm.has_input(0) || !norm.has_input(1) || !norm.has_output(0)) return no_match();
  const Node* sum = norm.input(0).producer();
  // A Sum is what avoid-skip-layer-norm writes.
  if (!sum || (!sum->is("Add") && !sum->is("Sum")) || &sum->graph() != &norm.graph() ||
      sum->num_inputs() != 2 || !sum->has_input(0) || !sum->has_input(1))
    return no_match();
  if (sum->opset() < 7) return no_match("opset below 7 broadcasts by attribute");
  const Value &a = sum->input(0), &b = sum->input(1);
  if (!same_shape(a, b) || a.type().rank() != 3)
    return no_match("addends are not known to have one shape of three axes");
  if (std::ranges::any_of(*a.type().shape, [](const Dim& d) { return d.value == 0; }))
    return no_match("an extent is 0");
  if (!over_last_axis(norm)) return no_match("normalization is over more than the last axis");
  const bool is_read = !norm.input(0).has_one_use();
  for (int i = 1; i < norm.num_inputs(); ++i) {
    if (!norm.has_input(i)) continue;
    if (!is_row_of(norm.input(i), a))
      return no_match("scale or bias is no vector of the last extent");
    // The sum's readers may stand before the normalization.
    if (is_read && norm.input(i).producer()) return no_match("scale or bias is computed");
  }
  if (norm.has_output(1) || norm.has_output(2)) return no_match("moments are given out");
  if (norm.input(0).type().dtype != DataType::kFloat) return no_match("type is not float");
  if (!context.asked_for)
    return no_match("onnxruntime is slower with it; it runs where --passes names it");
  Match m{norm, *sum, &a, &b, nullptr};
  if (take_row(a, m.x, m.row)) return m;
  take_row(b, m.skip, m.row);
  return m;
}

void rewrite(const Match& m, Rewriter& rw) {
  const bool simplified = !m.norm.is("LayerNormalization");
  std::vector<Value*> inputs = {const_cast<Value*>(m.x), const_cast<Value*>(m.skip),
                                &m.norm.input(1)};
  if (!simplified) inputs.push_back(m.norm.has_input(2) ? &m.norm.input(2) : nullptr);
  if (m.row) inputs.push_back(const_cast<Value*>(m.row));
  while (!inputs.back()) inputs.pop_back();
  std::vector<Attribute> attributes;
  attributes.push_back(Attribute::of("epsilon", m.norm.attr<float>("epsilon", 1e-5f)));
  const bool sum_is_read = !m.norm.input(0).has_one_use();
  if (sum_is_read) rw.place_before(m.sum);
  Node& skip = rw.add_node(
      simplified ? "SkipSimplifiedLayerNormalization" : "SkipLayerNormalization", inputs,
      std::move(attributes), sum_is_read ? 4 : 1, m.norm.output(0).name(), "com.microsoft");
  if (sum_is_read) {
    rw.drop_output(skip, 1);
    rw.drop_output(skip, 2);
    rw.replace_uses(m.norm.input(0), skip.output(3));
  }
  rw.replace_uses(m.norm.output(0), skip.output(0));
  rw.remove(m.norm);
}

}  // namespace

constinit const PassInfo kFuseSkipLayerNorm{
    .name = "fuse-skip-layer-norm",
    .summary = "make one SkipLayerNormalization of a normalization and the addition before it",
    .roots = {"LayerNormalization", "SimplifiedLayerNormalization", "RMSNormalization"},
    .level = Level::kExtended,
    .exactness = Exactness::kRounding,
    .run = run_rule<match, rewrite>};
}  // namespace onnxtool
