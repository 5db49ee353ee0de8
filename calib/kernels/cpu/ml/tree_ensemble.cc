// TreeEnsembleClassifier, TreeEnsembleRegressor and TreeEnsemble: the votes of the leaves that a
// row reaches, aggregated by target or class.
//
// The standard leaves open what a binary classifier with one set of weights means; here it is what
// onnxruntime does: one score, of the second class, which is a probability where no weight is
// negative and a margin elsewhere.

#include <cmath>

#include "calib/kernels/cpu/convert.h"
#include "calib/kernels/cpu/ml/trees.h"

namespace onnxtool {
namespace {

enum class Aggregate : uint8_t { kAverage, kSum, kMin, kMax };  // as TreeEnsemble-5 numbers them

struct ForestState final : KernelState {
  Forest forest;
  PostTransform transform = PostTransform::kNone;
  Aggregate aggregate = Aggregate::kSum;
  int64_t targets = 1;
  std::vector<double> base;
  ClassLabels labels;
  bool one_class_votes = false;  // binary, and every vote is for the same class
  bool never_negative = true;    // all weights
};

Result<std::vector<double>> base_values(const NodeView& node, int64_t targets) {
  ONNXTOOL_ASSIGN(std::vector<double> base, numbers_from(node, "base_values"));
  if (!base.empty() && base.size() != 1 && base.size() != static_cast<size_t>(targets))
    return wrong_length("base_values", base.size(), "none, 1 or " + std::to_string(targets));
  return base;
}

// One row's scores, by target.
struct Scores {
  std::vector<double> sum;
  std::vector<bool> voted;

  explicit Scores(int64_t targets)
      : sum(static_cast<size_t>(targets)), voted(static_cast<size_t>(targets)) {}
  void clear() {
    std::fill(sum.begin(), sum.end(), 0);
    std::fill(voted.begin(), voted.end(), false);
  }
  void add(const Vote& v, Aggregate how) {
    const auto t = static_cast<size_t>(v.target);
    if (how == Aggregate::kSum || how == Aggregate::kAverage)
      sum[t] += v.weight;
    else if (!voted[t])
      sum[t] = v.weight;
    else
      sum[t] = how == Aggregate::kMin ? std::min(sum[t], v.weight) : std::max(sum[t], v.weight);
    voted[t] = true;
  }
};

// Calls f(row, scores) for each row, once all trees have voted.
template <class F>
Status for_each_row(KernelContext& ctx, const ForestState& s, F&& f) {
  ONNXTOOL_ASSIGN(const FeatureShape shape, feature_shape(ctx.input(0)));
  if (shape.columns < s.forest.features)
    return mismatch("input 0 has " + std::to_string(shape.columns) +
                    " features, but the trees read " + std::to_string(s.forest.features));
  ONNXTOOL_ASSIGN(const std::span<const double> x, features_of(ctx, ctx.input(0)));
  constexpr int64_t kStepsPerTree = 16;
  const int64_t trees = static_cast<int64_t>(s.forest.roots.size());
  ctx.parallel(shape.rows, grain_of(trees * kStepsPerTree), [&](int64_t begin, int64_t end) {
    Scores scores(s.targets);
    for (int64_t row = begin; row < end; ++row) {
      scores.clear();
      for (const int64_t root : s.forest.roots)
        for (const Vote& v : s.forest.votes_of(s.forest.leaf(root, x.data() + row * shape.columns)))
          scores.add(v, s.aggregate);
      f(row, scores);
    }
  });
  return {};
}

// --- regression ---------------------------------------------------------------------------------

Result<Aggregate> aggregate_of(const NodeView& node) {
  const std::string_view name = node.attr_string("aggregate_function", "SUM");
  if (name == "SUM") return Aggregate::kSum;
  if (name == "AVERAGE") return Aggregate::kAverage;
  if (name == "MIN") return Aggregate::kMin;
  if (name == "MAX") return Aggregate::kMax;
  return bad_model("aggregate_function is '" + std::string(name) +
                   "', expected SUM, AVERAGE, MIN or MAX");
}

// A bound for what a file may claim: scores are kept for each.
constexpr int64_t kMaxTargets = int64_t{1} << 24;

Result<int64_t> target_count(const NodeView& node) {
  const int64_t targets = node.attr_int("n_targets", 1);
  if (targets < 1 || targets > kMaxTargets)
    return bad_model("n_targets is " + std::to_string(targets));
  return targets;
}

Result<std::unique_ptr<KernelState>> prepare_regressor(const NodeView& node) {
  ONNXTOOL_TRY(require_inputs(node, {0}));
  auto state = std::make_unique<ForestState>();
  ONNXTOOL_ASSIGN(state->targets, target_count(node));
  ONNXTOOL_ASSIGN(state->forest, forest_from_lists(node, "target", state->targets));
  ONNXTOOL_ASSIGN(state->transform, post_transform_of(node));
  ONNXTOOL_ASSIGN(state->aggregate, aggregate_of(node));
  ONNXTOOL_ASSIGN(state->base, base_values(node, state->targets));
  return {std::move(state)};
}

Result<std::unique_ptr<KernelState>> prepare_ensemble(const NodeView& node) {
  ONNXTOOL_TRY(require_inputs(node, {0}));
  auto state = std::make_unique<ForestState>();
  ONNXTOOL_ASSIGN(state->targets, target_count(node));
  ONNXTOOL_ASSIGN(state->forest, forest_from_arrays(node, state->targets));
  const int64_t aggregate = node.attr_int("aggregate_function", 1),
                transform = node.attr_int("post_transform", 0);
  if (aggregate < 0 || aggregate > 3)
    return bad_model("aggregate_function is " + std::to_string(aggregate) + ", expected 0 to 3");
  if (transform < 0 || transform > 4)
    return bad_model("post_transform is " + std::to_string(transform) + ", expected 0 to 4");
  state->aggregate = static_cast<Aggregate>(aggregate);
  state->transform = static_cast<PostTransform>(transform);
  return {std::move(state)};
}

Status run_regression(KernelContext& ctx, DataType type) {
  const auto& s = *static_cast<const ForestState*>(ctx.state());
  ONNXTOOL_ASSIGN(const FeatureShape shape, feature_shape(ctx.input(0)));
  const Dims dims{shape.rows, s.targets};
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, type, dims));
  const bool base_fits = s.base.size() == static_cast<size_t>(s.targets);
  const double trees = static_cast<double>(std::max<size_t>(s.forest.roots.size(), 1));
  return for_each_row(ctx, s, [&](int64_t row, Scores& scores) {
    for (size_t t = 0; t < scores.sum.size(); ++t) {
      if (s.aggregate == Aggregate::kAverage) scores.sum[t] /= trees;
      if (base_fits) scores.sum[t] += s.base[t];
    }
    apply_to_targets(s.transform, scores.sum);
    store_scores(scores.sum, y, row * s.targets);
  });
}

Status regressor(KernelContext& ctx) { return run_regression(ctx, DataType::kFloat); }
Status ensemble(KernelContext& ctx) { return run_regression(ctx, ctx.input(0).dtype); }

// --- classification -----------------------------------------------------------------------------

Result<std::unique_ptr<KernelState>> prepare_classifier(const NodeView& node) {
  ONNXTOOL_TRY(require_inputs(node, {0}));
  auto state = std::make_unique<ForestState>();
  state->labels = labels_from(node, "classlabels_strings", "classlabels_int64s");
  state->targets = static_cast<int64_t>(state->labels.count());
  if (state->targets == 0)
    return bad_model("neither classlabels_strings nor classlabels_int64s has a label");
  ONNXTOOL_ASSIGN(state->forest, forest_from_lists(node, "class", state->targets));
  ONNXTOOL_ASSIGN(state->transform, post_transform_of(node));
  ONNXTOOL_ASSIGN(state->base, base_values(node, state->targets));
  const auto& votes = state->forest.votes;
  state->one_class_votes = state->targets == 2 && !votes.empty() &&
                           std::all_of(votes.begin(), votes.end(),
                                       [&](const Vote& v) { return v.target == votes[0].target; });
  state->never_negative =
      std::none_of(votes.begin(), votes.end(), [](const Vote& v) { return v.weight < 0; });
  return {std::move(state)};
}

// One score decides between two classes. Votes for the first class make the score that stands for
// both; votes for the second leave the first at 0. Returns the label's index.
size_t finish_binary(const ForestState& s, Scores& scores) {
  const bool for_second = s.forest.votes.front().target == 1;
  double score = scores.sum[for_second ? 1 : 0];
  if (!s.base.empty()) score += s.base.back();
  if (for_second) {
    scores.sum[1] = score;
    apply_transform(s.transform, scores.sum);
  } else {
    write_binary(score, s.never_negative ? SecondScore::kComplement : SecondScore::kNegated,
                 s.transform, scores.sum);
  }
  return score > (s.never_negative ? 0.5 : 0.0) ? 1 : 0;
}

// A score for each class.
size_t finish_classes(const ForestState& s, Scores& scores) {
  if (s.base.size() == scores.sum.size())
    for (size_t c = 0; c < scores.sum.size(); ++c) {
      scores.sum[c] += s.base[c];
      scores.voted[c] = true;
    }
  else if (s.base.size() == 1)
    scores.sum[0] += s.base[0];
  // Classes for which no tree votes take no part.
  size_t best = scores.sum.size();
  for (size_t c = 0; c < scores.sum.size(); ++c)
    if (scores.voted[c] && (best == scores.sum.size() || scores.sum[c] > scores.sum[best]))
      best = c;
  apply_transform(s.transform, scores.sum);
  return best == scores.sum.size() ? 0 : best;
}

Status classifier(KernelContext& ctx) {
  const auto& s = *static_cast<const ForestState*>(ctx.state());
  ONNXTOOL_ASSIGN(const FeatureShape shape, feature_shape(ctx.input(0)));
  const Dims label_dims{shape.rows}, score_dims{shape.rows, s.targets};
  ONNXTOOL_ASSIGN(const MutableView labels, ctx.output(0, s.labels.dtype(), label_dims));
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(1, DataType::kFloat, score_dims));
  return for_each_row(ctx, s, [&](int64_t row, Scores& scores) {
    const size_t label = s.one_class_votes ? finish_binary(s, scores) : finish_classes(s, scores);
    s.labels.write(label, labels, row);
    store_scores(scores.sum, y, row * s.targets);
  });
}

}  // namespace

constinit const KernelInfo kTreeEnsembleClassifier{.domain = "ai.onnx.ml",
                                                   .op = "TreeEnsembleClassifier",
                                                   .types = kFeatureTypes,
                                                   .prepare = prepare_classifier,
                                                   .run = classifier};
constinit const KernelInfo kTreeEnsembleRegressor{.domain = "ai.onnx.ml",
                                                  .op = "TreeEnsembleRegressor",
                                                  .types = kFeatureTypes,
                                                  .prepare = prepare_regressor,
                                                  .run = regressor};
constinit const KernelInfo kTreeEnsemble{
    .domain = "ai.onnx.ml",
    .op = "TreeEnsemble",
    .since = 5,
    .types = {DataType::kFloat, DataType::kDouble, DataType::kFloat16},
    .prepare = prepare_ensemble,
    .run = ensemble};

}  // namespace onnxtool
