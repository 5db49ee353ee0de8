// LinearClassifier and LinearRegressor: scores = X * coefficients^T + intercepts, with
// coefficients [targets, columns]. The columns are X's: where there are coefficients for more,
// those behind stay unread, as in onnxruntime (a model that onnxmltools made of a slice of the iris
// data relies on it).

#include "calib/kernels/cpu/convert.h"
#include "calib/kernels/cpu/ml/models.h"

namespace onnxtool {
namespace {

struct LinearModel final : KernelState {
  std::vector<float> coefficients, intercepts;
  size_t targets = 1;
  PostTransform transform = PostTransform::kNone;
  ClassLabels labels;
};

// Whether a single score stands for two classes.
bool is_binary(const LinearModel& m) { return m.targets == 1 && m.labels.count() == 2; }

Status read_coefficients(const NodeView& node, LinearModel& m) {
  const auto c = node.attr_floats("coefficients"), b = node.attr_floats("intercepts");
  if (m.targets == 0 || c.empty() || c.size() % m.targets)
    return wrong_length("coefficients", c.size(), "a multiple of " + std::to_string(m.targets));
  if (!b.empty() && b.size() != m.targets)
    return wrong_length("intercepts", b.size(), std::to_string(m.targets));
  m.coefficients.assign(c.begin(), c.end());
  m.intercepts.assign(b.begin(), b.end());
  m.intercepts.resize(m.targets);
  ONNXTOOL_ASSIGN(m.transform, post_transform_of(node));
  return {};
}

Result<std::unique_ptr<KernelState>> prepare_classifier(const NodeView& node) {
  ONNXTOOL_TRY(require_inputs(node, {0}));
  auto m = std::make_unique<LinearModel>();
  m->labels = labels_from(node, "classlabels_strings", "classlabels_ints");
  const size_t intercepts = node.attr_floats("intercepts").size();
  m->targets = intercepts ? intercepts : m->labels.count();
  ONNXTOOL_TRY(read_coefficients(node, *m));
  if (m->labels.count() == 0 && m->targets == 1) m->labels.ints = {0, 1};
  if (m->labels.count() != m->targets && !is_binary(*m))
    return wrong_length("classlabels", m->labels.count(), std::to_string(m->targets));
  return {std::move(m)};
}

// Of one row, in double, in the order of the columns.
void score(const LinearModel& m, std::span<const double> x, std::span<double> out) {
  for (size_t t = 0; t < m.targets; ++t) {
    double sum = 0;
    for (size_t c = 0; c < x.size(); ++c)
      sum += x[c] * static_cast<double>(m.coefficients[t * x.size() + c]);
    out[t] = sum + static_cast<double>(m.intercepts[t]);
  }
}

// Calls f(row, x) with each row's columns.
template <class F>
Status for_each_row(KernelContext& ctx, const LinearModel& m, const FeatureShape& shape, F&& f) {
  const size_t columns = static_cast<size_t>(shape.columns),
               known = m.coefficients.size() / m.targets;
  if (columns > known)
    return mismatch("input 0 has " + std::to_string(columns) + " features, expected " +
                    std::to_string(known));
  ONNXTOOL_ASSIGN(const std::span<const double> x, features_of(ctx, ctx.input(0)));
  ctx.parallel(shape.rows, grain_of(static_cast<int64_t>(m.targets * columns)),
               [&](int64_t begin, int64_t end) {
                 for (int64_t row = begin; row < end; ++row)
                   f(row, x.subspan(static_cast<size_t>(row) * columns, columns));
               });
  return {};
}

Status classifier(KernelContext& ctx) {
  const auto& m = *static_cast<const LinearModel*>(ctx.state());
  ONNXTOOL_ASSIGN(const FeatureShape shape, feature_shape(ctx.input(0)));
  const size_t width = is_binary(m) ? 2 : m.targets;
  const Dims label_dims{shape.rows}, score_dims{shape.rows, static_cast<int64_t>(width)};
  ONNXTOOL_ASSIGN(const MutableView labels, ctx.output(0, m.labels.dtype(), label_dims));
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(1, DataType::kFloat, score_dims));
  return for_each_row(ctx, m, shape, [&](int64_t row, std::span<const double> x) {
    std::vector<double> scores(width);
    score(m, x, scores);
    if (is_binary(m)) {
      m.labels.write(scores[0] > 0 ? 1 : 0, labels, row);
      write_binary(scores[0], SecondScore::kComplement, m.transform, scores);
    } else {
      m.labels.write(first_greatest(scores), labels, row);
      apply_transform(m.transform, scores);
    }
    store_scores(scores, y, row * static_cast<int64_t>(width));
  });
}

Result<std::unique_ptr<KernelState>> prepare_regressor(const NodeView& node) {
  ONNXTOOL_TRY(require_inputs(node, {0}));
  auto m = std::make_unique<LinearModel>();
  const int64_t targets = node.attr_int("targets", 1);
  if (targets < 1) return bad_model("targets is " + std::to_string(targets));
  m->targets = static_cast<size_t>(targets);
  ONNXTOOL_TRY(read_coefficients(node, *m));
  return {std::move(m)};
}

Status regressor(KernelContext& ctx) {
  const auto& m = *static_cast<const LinearModel*>(ctx.state());
  ONNXTOOL_ASSIGN(const FeatureShape shape, feature_shape(ctx.input(0)));
  const Dims dims{shape.rows, static_cast<int64_t>(m.targets)};
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, DataType::kFloat, dims));
  return for_each_row(ctx, m, shape, [&](int64_t row, std::span<const double> x) {
    std::vector<double> scores(m.targets);
    score(m, x, scores);
    apply_to_targets(m.transform, scores);
    store_scores(scores, y, row * dims[1]);
  });
}

}  // namespace

constinit const KernelInfo kLinearClassifier{.domain = "ai.onnx.ml",
                                             .op = "LinearClassifier",
                                             .types = kFeatureTypes,
                                             .prepare = prepare_classifier,
                                             .run = classifier};
constinit const KernelInfo kLinearRegressor{.domain = "ai.onnx.ml",
                                            .op = "LinearRegressor",
                                            .types = kFeatureTypes,
                                            .prepare = prepare_regressor,
                                            .run = regressor};

}  // namespace onnxtool
