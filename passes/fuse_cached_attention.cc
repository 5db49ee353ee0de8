// Makes one Attention of self-attention to what came before: keys and values of a cache, and those
// of the new rows behind them, which are the next cache.
//
//   q, k, v = Split(x * W + b), each [batch, rows, heads, size] with its heads first
//   keys = Concat(Gather(past, 0), k)    values = Concat(Gather(past, 1), v)      along the rows
//   present = Concat(Unsqueeze(keys), Unsqueeze(values))
//   y = Reshape(Transpose<0, 2, 1, 3>(MatMul(Softmax(Where(causal, scale * q * keys^T, f)),
//   values)), {batch, rows, heads * size})
//     =>
//   y, present = com.microsoft.Attention<num_heads, unidirectional = 1>(x, W, b, , past)
//
// `causal` is cut out of a lower triangle of ones, so that it holds the last rows of all keys. The
// operator adds f instead of putting it in the place of a score: nothing is left of either behind
// the Softmax where f is far below all differences of scores, since a row always sees itself. Does
// not fire: f is not (score_bound.h tells of scores of normalized rows how large they get); shapes
// that are not known to be these; a mask that is not cut like this; present read by nodes;
// intermediate results used elsewhere; types other than float. Source: onnxruntime 1.31,
// docs/ContribOperators.md; optimizer/attention_fusion_helper.h.

#include <array>
#include <cmath>

#include "libopt/analysis/seam.h"
#include "passes/attention.h"
#include "passes/pass.h"
#include "passes/score_bound.h"
#include "passes/shapes.h"

namespace onnxtool {
namespace {

// The operator's own f.
constexpr double kMasked = -10000;
// No products of finite floats that a Softmax can still tell apart come near it.
constexpr double kBelowAll = -1e30;
// e to the power of it is 0.
constexpr double kVanishes = -110;

struct Match {
  const Node &last, &present;
  Projection projected;
  const Value* past;
  int64_t heads, size;
  double scale, masked;
};

// Keys or values with those of the past before them.
struct Cached {
  const Value* past = nullptr;
  Projection now;
  bool rows_first = false;  // now.heads is [batch, rows, heads, size], else [batch, heads, 1, size]
};

bool is_ints(const Node& node, int input, int64_t number) {
  return constant_ints(node, input) == std::vector<int64_t>{number};
}

MatchOr<Cached> find_heads(Pattern& p, const Value& value) {
  Cached found;
  const Value* heads = untransposed(p, value, kHeadsFirst);
  found.rows_first = heads != nullptr;
  const auto now = find_projection(p, heads ? heads : &value);
  if (!now) return no_match(now.reason());
  if (now->part < 0) return no_match("no one product makes queries, keys and values");
  found.now = *now;
  return found;
}

// `part` is 0 for keys, 1 for values. The Gather stays where something else reads it too.
MatchOr<Cached> find_cached(Pattern& p, const Value& value, int64_t part) {
  const Node* concat = p.take(value, {"Concat"});
  const int64_t axis = concat ? concat->attr<int64_t>("axis", 0) : 0;
  if (!concat || concat->num_inputs() != 2 || !concat->has_input(0) || !concat->has_input(1) ||
      (axis != 2 && axis != -2))
    return no_match("keys or values stand behind no others");
  auto found = find_heads(p, concat->input(1));
  if (!found) return found;
  const Node* gather = concat->input(0).producer();
  if (!gather || !gather->is("Gather") || gather->attr<int64_t>("axis", 0) != 0 ||
      !gather->has_input(0) || !gather->has_input(1) ||
      scalar_of(gather->input(1)) != static_cast<double>(part))
    return no_match("keys or values stand behind no part of a cache");
  Cached cached = *found;
  cached.past = &gather->input(0);
  return cached;
}

const Node* unsqueezed(Pattern& p, const Value& value) {
  for (const Use& use : value.uses())
    if (use.user->is("Unsqueeze") && ints_of(*use.user, "axes", 1, 13) == std::vector<int64_t>{0}) {
      p.take(use.user->output(0), {"Unsqueeze"});
      return use.user;
    }
  return nullptr;
}

// What joins keys and values into the next cache; nullptr: nothing does.
const Node* find_present(Pattern& p, const Value& keys, const Value& values) {
  const Node *k = unsqueezed(p, keys), *v = unsqueezed(p, values);
  const Node* joined = k && v ? only_reader(k->output(0)) : nullptr;
  if (!joined || !joined->is("Concat") || joined->num_inputs() != 2 ||
      joined->attr<int64_t>("axis", 0) != 0 || !joined->has_input(0) || !joined->has_input(1) ||
      &joined->input(0) != &k->output(0) || &joined->input(1) != &v->output(0))
    return nullptr;
  p.take_result(*joined);
  return joined;
}

// --- the mask

// Whether row i of [1, 1, rows, columns] sees all columns but the last ones behind itself.
bool is_lower_triangle(const Value& value) {
  const Tensor* t = value.constant();
  if (!t || t->rank() != 4 || t->dims()[0] != 1 || t->dims()[1] != 1 ||
      t->dims()[2] > t->dims()[3] || t->dtype() == DataType::kString)
    return false;
  const std::vector<double> ones = t->to_doubles();
  const auto rows = static_cast<size_t>(t->dims()[2]), columns = static_cast<size_t>(t->dims()[3]);
  for (size_t i = 0; i < ones.size(); ++i)
    if ((ones[i] != 0) != (i / columns + columns - rows >= i % columns)) return false;
  return true;
}

// The triangle that is cut: all rows of all columns. (One of a single element would broadcast.)
bool is_table(const Value& value) {
  return is_lower_triangle(value) && value.constant()->dims()[2] == value.constant()->dims()[3] &&
         value.constant()->dims()[2] > 1;
}

// The value before nodes that only add or drop axes.
const Value& bare(const Value& value) {
  const Value* v = &value;
  for (const Node* n = v->producer();
       n && (n->is("Unsqueeze") || n->is("Squeeze")) && n->has_input(0); n = v->producer())
    v = &n->input(0);
  return *v;
}

bool is_extent(const Value& value, const Dim& extent) {
  const auto elements = symbolic_elements(value);
  return elements && elements->size() == 1 && same_dim((*elements)[0], extent);
}

bool is_difference(const Value& value, const Dim& a, const Dim& b) {
  const Node* sub = bare(value).producer();
  return sub && sub->is("Sub") && is_extent(sub->input(0), a) && is_extent(sub->input(1), b);
}

// What computes an extent out of the shape of the scores goes with them. Whether anything does.
bool take_extent(Pattern& p, const Value& extent, const Value& scores) {
  const Node* n = extent.producer();
  if (!n || !n->domain().empty() || !n->has_input(0)) return false;
  if (n->is("Shape")) {
    if (&n->input(0) != &scores) return false;
  } else if (n->is("Sub") && n->has_input(1)) {
    const bool left = take_extent(p, n->input(0), scores);
    if (!take_extent(p, n->input(1), scores) && !left) return false;
  } else if (!(n->is("Unsqueeze") || n->is("Squeeze") || n->is("Slice") || n->is("Gather")) ||
             !take_extent(p, n->input(0), scores)) {
    return false;
  }
  p.take(extent, {n->op_type()});
  return true;
}

// Whether the condition is the last rows of as many of the triangle's as there are keys.
bool is_causal(Pattern& p, const Value& condition, const Value& scores) {
  const auto& shape = scores.type().shape;
  if (!shape || shape->size() != 4) return false;
  const Dim &rows = (*shape)[2], &keys = (*shape)[3];
  if (const Tensor* t = condition.constant())
    return is_lower_triangle(condition) && rows.value == t->dims()[2] && keys.value == t->dims()[3];
  const Value* v = &condition;
  if (const Node* cast = p.take(*v, {"Cast"}); cast && cast->has_input(0)) v = &cast->input(0);
  bool cut[2] = {false, false};
  for (int cuts = 0; cuts < 2; ++cuts) {
    const Node* slice = p.take(*v, {"Slice"});
    if (!slice || slice->opset() < 10 || slice->num_inputs() < 4 || !slice->has_input(1) ||
        !slice->has_input(2) || (slice->has_input(4) && !is_ints(*slice, 4, 1)) ||
        !is_extent(slice->input(2), keys))
      return false;
    const bool along_rows = is_ints(*slice, 3, 2) && is_difference(slice->input(1), keys, rows);
    if (!along_rows && !(is_ints(*slice, 3, 3) && is_ints(*slice, 1, 0))) return false;
    cut[along_rows ? 0 : 1] = true;
    for (const int i : {1, 2}) take_extent(p, slice->input(i), scores);
    v = &slice->input(0);
  }
  return cut[0] && cut[1] && is_table(*v);
}

// --- the whole

// [batch, rows, heads * size] out of x's rows, by way of the given heads.
bool fits(const Cached& part, const Match& m) {
  const auto& h = part.now.heads->type().shape;
  const auto& x = m.projected.x->type().shape;
  if (!h || !x || h->size() != 4 || x->size() != 3 || (*h)[3].value != m.size) return false;
  if (!same_dim((*h)[0], (*x)[0])) return false;
  return part.rows_first ? (*h)[2].value == m.heads && same_dim((*h)[1], (*x)[1])
                         : (*h)[1].value == m.heads && (*h)[2].value == 1 && (*x)[1].value == 1;
}

// Whether the last Reshape, of [batch, rows, heads, size], makes {batch, rows, heads * size}.
bool restores_rows(const Match& m) {
  const auto target = m.last.has_input(1) ? constant_ints(m.last, 1) : std::nullopt;
  return target && target->size() == 3 && (*target)[0] == 0 && (*target)[1] == 0 &&
         ((*target)[2] == -1 || (*target)[2] == m.heads * m.size) &&
         !m.last.attr<int64_t>("allowzero", 0);
}

MatchOr<Match> check(Match m, const std::array<Cached, 3>& parts) {
  const auto& past = m.past->type().shape;
  if (!past || past->size() != 5 || !(*past)[2].value || !(*past)[4].value)
    return no_match("heads and their size are not known");
  m.heads = *(*past)[2].value;
  m.size = *(*past)[4].value;
  if (m.projected.weight->constant()->dims()[1] != 3 * m.heads * m.size)
    return no_match("heads and their size are not known");
  for (int i = 0; i < 3; ++i) {
    const Cached& part = parts[static_cast<size_t>(i)];
    if (part.now.x != m.projected.x || part.now.weight != m.projected.weight || part.now.part != i)
      return no_match("parts stand in another order");
    if (!fits(part, m)) return no_match("batch and rows are not known to be kept");
  }
  if (!restores_rows(m)) return no_match("batch and rows are not known to be kept");
  if (m.projected.x->type().dtype != DataType::kFloat) return no_match("type is not float");
  // Scores that are masked and those that are not may be as far apart as two bounds.
  if (m.masked > kBelowAll &&
      !scores_stay_within((kVanishes - m.masked) / 2, m.projected, m.heads, m.size, m.scale))
    return no_match("what is masked is not known to be far below all scores");
  return m;
}

MatchOr<Match> match(const Node& last) {
  if (!last.has_input(0) || !last.has_output(0)) return no_match();
  Pattern p(last);
  const Value* result = untransposed(p, last.input(0), kHeadsFirst);
  const auto weighted = result ? find_weighted(p, *result) : std::nullopt;
  const Node* where = weighted ? p.take(*weighted->scored, {"Where"}) : nullptr;
  if (!where || !where->has_input(0) || !where->has_input(1) || !where->has_input(2))
    return no_match();
  const auto masked = scalar_of(where->input(2));
  if (!masked || !std::isfinite(*masked)) return no_match("what is masked is no finite number");
  const auto scores = find_scores(p, where->input(1));
  if (!scores) return no_match(scores.reason());
  const Value* keys =
      scores->transposes_key ? scores->key : untransposed(p, *scores->key, {0, 1, 3, 2});
  if (!keys) return no_match("keys are transposed otherwise");
  const auto q = find_heads(p, *scores->query), k = find_cached(p, *keys, 0),
             v = find_cached(p, *weighted->values, 1);
  for (const auto* part : {&q, &k, &v})
    if (!*part) return no_match(part->reason());
  if (k->past != v->past) return no_match("keys and values are of different caches");
  const Node* present = find_present(p, *keys, *weighted->values);
  if (!present) return no_match("keys and values become no cache");
  if (!present->output(0).uses().empty()) return no_match("the cache is read at once");
  if (!is_causal(p, where->input(0), where->input(1)))
    return no_match("mask is none of all rows before");
  const auto checked =
      check({last, *present, q->now, k->past, 0, 0, scores->scale, *masked}, {*q, *k, *v});
  if (checked && !p.closed()) return no_match(Pattern::kOtherUse);
  return checked;
}

void rewrite(const Match& m, Rewriter& rw) {
  const auto lift = [](const Value* v) { return const_cast<Value*>(v); };
  std::vector<Attribute> attributes;
  attributes.push_back(Attribute::of("num_heads", m.heads));
  attributes.push_back(Attribute::of("unidirectional", int64_t{1}));
  if (m.masked != kMasked)
    attributes.push_back(Attribute::of("mask_filter_value", static_cast<float>(m.masked)));
  const double usual = 1 / std::sqrt(static_cast<double>(m.size));
  if (std::abs(m.scale - usual) > 1e-6 * usual)
    attributes.push_back(Attribute::of("scale", static_cast<float>(m.scale)));
  const Node& attention = rw.add_node(
      "Attention",
      {lift(m.projected.x), lift(m.projected.weight),
       bias_or_zeros(m.projected.bias, 3 * m.heads * m.size, rw), nullptr, lift(m.past)},
      std::move(attributes), 2, m.last.output(0).name(), "com.microsoft");
  rw.replace_uses(m.present.output(0), attention.output(1));
  rw.remove(m.present);
  rw.replace_uses(m.last.output(0), attention.output(0));
  rw.remove(m.last);
}

}  // namespace

constinit const PassInfo kFuseCachedAttention{
    .name = "fuse-cached-attention",
    .summary = "make one Attention of causal self-attention to a cache, and the next cache",
    .roots = {"Reshape"},
    .level = Level::kExtended,
    .exactness = Exactness::kRounding,
    .run = run_rule<match, rewrite>};
}  // namespace onnxtool
