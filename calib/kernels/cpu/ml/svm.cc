// SVMClassifier and SVMRegressor, as libsvm defines their attributes:
//
//   support_vectors [vectors, columns], grouped by class (vectors_per_class)
//   coefficients    [classes - 1, vectors]; row k of a vector of class i is its weight against
//   class
//                   k (k < i) or k + 1
//   rho, prob_a, prob_b: one for each pair of classes (0, 1), (0, 2), ... (1, 2), ...
//
// Without support vectors the models are linear: coefficients [classes, columns], one rho.

#include <cmath>

#include "calib/kernels/cpu/convert.h"
#include "calib/kernels/cpu/ml/models.h"

namespace onnxtool {
namespace {

enum class Kernel : uint8_t { kLinear, kPoly, kRbf, kSigmoid };

struct SvmState final : KernelState {
  Kernel kernel = Kernel::kLinear;
  double gamma = 0, coef0 = 0, degree = 0;
  std::vector<double> vectors, coefficients, rho, prob_a, prob_b;
  size_t count = 0, columns = 0;  // of support vectors, or of classes where there are none
  std::vector<size_t> first;      // of each class's vectors, and behind the last class's
  PostTransform transform = PostTransform::kNone;
  ClassLabels labels;
  bool linear = false, one_class = false;

  size_t pairs() const { return labels.count() * (labels.count() - 1) / 2; }
};

Result<Kernel> kernel_named(std::string_view name) {
  if (name == "LINEAR") return Kernel::kLinear;
  if (name == "POLY") return Kernel::kPoly;
  if (name == "RBF") return Kernel::kRbf;
  if (name == "SIGMOID") return Kernel::kSigmoid;
  return bad_model("kernel_type is '" + std::string(name) +
                   "', expected LINEAR, POLY, RBF or SIGMOID");
}

double dot(const double* a, const double* b, size_t n) {
  double sum = 0;
  for (size_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

double distance_squared(const double* a, const double* b, size_t n) {
  double sum = 0;
  for (size_t i = 0; i < n; ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return sum;
}

double evaluate(const SvmState& s, const double* x, const double* v) {
  switch (s.kernel) {
    case Kernel::kLinear: return dot(x, v, s.columns);
    case Kernel::kPoly: return std::pow(s.gamma * dot(x, v, s.columns) + s.coef0, s.degree);
    case Kernel::kRbf: return std::exp(-s.gamma * distance_squared(x, v, s.columns));
    case Kernel::kSigmoid: return std::tanh(s.gamma * dot(x, v, s.columns) + s.coef0);
  }
  return 0;
}

std::vector<double> floats(const NodeView& node, std::string_view name) {
  const auto v = node.attr_floats(name);
  return {v.begin(), v.end()};
}

Status read_common(const NodeView& node, SvmState& s) {
  ONNXTOOL_TRY(require_inputs(node, {0}));
  s.vectors = floats(node, "support_vectors");
  s.coefficients = floats(node, "coefficients");
  s.rho = floats(node, "rho");
  ONNXTOOL_ASSIGN(s.kernel, kernel_named(node.attr_string("kernel_type", "LINEAR")));
  ONNXTOOL_ASSIGN(s.transform, post_transform_of(node));
  const auto params = node.attr_floats("kernel_params");
  if (!params.empty()) {
    if (params.size() != 3) return wrong_length("kernel_params", params.size(), "3");
    s.gamma = static_cast<double>(params[0]);
    s.coef0 = static_cast<double>(params[1]);
    s.degree = static_cast<double>(params[2]);
  }
  return {};
}

// `count` vectors, or for a linear model so many rows of coefficients.
Status read_columns(SvmState& s, size_t count) {
  const std::vector<double>& from = s.linear ? s.coefficients : s.vectors;
  if (count == 0 || from.empty() || from.size() % count)
    return wrong_length(s.linear ? "coefficients" : "support_vectors", from.size(),
                        "a multiple of " + std::to_string(count));
  s.count = count;
  s.columns = from.size() / count;
  if (s.linear) s.kernel = Kernel::kLinear;
  return {};
}

Status at_least(std::string_view name, size_t found, size_t needed) {
  return found >= needed ? Status()
                         : wrong_length(name, found, "at least " + std::to_string(needed));
}

Result<FeatureShape> checked_shape(const KernelContext& ctx, const SvmState& s) {
  ONNXTOOL_ASSIGN(const FeatureShape shape, feature_shape(ctx.input(0)));
  if (shape.columns != static_cast<int64_t>(s.columns))
    return mismatch("input 0 has " + std::to_string(shape.columns) + " features, expected " +
                    std::to_string(s.columns));
  return shape;
}

// --- regression ---------------------------------------------------------------------------------

Result<std::unique_ptr<KernelState>> prepare_regressor(const NodeView& node) {
  auto s = std::make_unique<SvmState>();
  ONNXTOOL_TRY(read_common(node, *s));
  const int64_t supports = node.attr_int("n_supports", 0);
  s->linear = supports <= 0;
  s->one_class = node.attr_int("one_class", 0) != 0;
  ONNXTOOL_TRY(read_columns(*s, s->linear ? 1 : static_cast<size_t>(supports)));
  ONNXTOOL_TRY(at_least("coefficients", s->coefficients.size(), s->count));
  ONNXTOOL_TRY(at_least("rho", s->rho.size(), 1));
  return {std::move(s)};
}

Status regressor(KernelContext& ctx) {
  const auto& s = *static_cast<const SvmState*>(ctx.state());
  ONNXTOOL_ASSIGN(const FeatureShape shape, checked_shape(ctx, s));
  const Dims dims{shape.rows, 1};
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, DataType::kFloat, dims));
  ONNXTOOL_ASSIGN(const std::span<const double> x, features_of(ctx, ctx.input(0)));
  ctx.parallel(shape.rows, grain_of(static_cast<int64_t>(s.count * s.columns)),
               [&](int64_t begin, int64_t end) {
                 for (int64_t row = begin; row < end; ++row) {
                   const double* features = x.data() + row * shape.columns;
                   double sum = s.rho[0];
                   if (s.linear)
                     sum += evaluate(s, features, s.coefficients.data());
                   else
                     for (size_t v = 0; v < s.count; ++v)
                       sum += s.coefficients[v] *
                              evaluate(s, features, s.vectors.data() + v * s.columns);
                   if (s.one_class) sum = sum > 0 ? 1 : -1;
                   store_scores({&sum, 1}, y, row);
                 }
               });
  return {};
}

// --- classification -----------------------------------------------------------------------------

Status read_pairs(const NodeView& node, SvmState& s) {
  const auto per_class = node.attr_ints("vectors_per_class");
  if (per_class.size() != s.labels.count())
    return wrong_length("vectors_per_class", per_class.size(), std::to_string(s.labels.count()));
  size_t vectors = 0;
  s.first.push_back(0);
  for (const int64_t n : per_class) {
    if (n < 0 || static_cast<size_t>(n) > s.vectors.size())
      return bad_model("vectors_per_class has " + std::to_string(n));
    s.first.push_back(vectors += static_cast<size_t>(n));
  }
  ONNXTOOL_TRY(read_columns(s, vectors));
  s.prob_a = floats(node, "prob_a");
  s.prob_b = floats(node, "prob_b");
  ONNXTOOL_TRY(at_least("coefficients", s.coefficients.size(), (s.labels.count() - 1) * s.count));
  ONNXTOOL_TRY(at_least("rho", s.rho.size(), s.pairs()));
  if (!s.prob_a.empty()) ONNXTOOL_TRY(at_least("prob_a", s.prob_a.size(), s.pairs()));
  if (s.prob_b.size() != s.prob_a.size())
    return wrong_length("prob_b", s.prob_b.size(), std::to_string(s.prob_a.size()));
  return {};
}

// More pairs of classes than anybody trains, and few enough to keep a score for each.
constexpr size_t kMaxClasses = 4096;

Result<std::unique_ptr<KernelState>> prepare_classifier(const NodeView& node) {
  auto s = std::make_unique<SvmState>();
  ONNXTOOL_TRY(read_common(node, *s));
  s->labels = labels_from(node, "classlabels_strings", "classlabels_ints");
  if (s->labels.count() < 2 || s->labels.count() > kMaxClasses)
    return wrong_length("classlabels", s->labels.count(), "2 to " + std::to_string(kMaxClasses));
  int64_t vectors = 0;
  for (const int64_t n : node.attr_ints("vectors_per_class")) vectors |= n;
  s->linear = vectors == 0;
  if (!s->linear) {
    ONNXTOOL_TRY(read_pairs(node, *s));
  } else {
    ONNXTOOL_TRY(read_columns(*s, s->labels.count()));
    ONNXTOOL_TRY(at_least("rho", s->rho.size(), 1));
  }
  return {std::move(s)};
}

// Each pair's decision value, and a vote for the winner of each.
void decide(const SvmState& s, const double* x, std::span<double> decisions,
            std::span<double> votes) {
  std::vector<double> kernel(s.count);
  for (size_t v = 0; v < s.count; ++v) kernel[v] = evaluate(s, x, s.vectors.data() + v * s.columns);
  const auto weighted = [&](size_t row, size_t of_class) {
    const size_t begin = s.first[of_class];
    return dot(s.coefficients.data() + row * s.count + begin, kernel.data() + begin,
               s.first[of_class + 1] - begin);
  };
  size_t pair = 0;
  for (size_t i = 0; i + 1 < s.labels.count(); ++i)
    for (size_t j = i + 1; j < s.labels.count(); ++j, ++pair) {
      decisions[pair] = weighted(j - 1, i) + weighted(i, j) + s.rho[pair];
      votes[decisions[pair] > 0 ? i : j] += 1;
    }
}

// Class probabilities from those of pairs (r[i][j]: i rather than j), by the iteration of Wu, Lin
// and Weng, "Probability Estimates for Multi-class Classification by Pairwise Coupling",
// section 3.2.
void couple(const std::vector<double>& r, std::span<double> p) {
  constexpr int kMaxRounds = 100;
  const size_t n = p.size();
  const double epsilon = 0.005 / static_cast<double>(n);
  std::vector<double> q(n * n), qp(n);
  for (size_t i = 0; i < n; ++i) {
    p[i] = 1 / static_cast<double>(n);
    for (size_t j = 0; j < n; ++j) {
      if (j == i) continue;
      q[i * n + i] += r[j * n + i] * r[j * n + i];
      q[i * n + j] = -r[j * n + i] * r[i * n + j];
    }
  }
  for (int round = 0; round < kMaxRounds; ++round) {
    double pqp = 0, worst = 0;
    for (size_t i = 0; i < n; ++i) {
      qp[i] = dot(q.data() + i * n, p.data(), n);
      pqp += p[i] * qp[i];
    }
    for (size_t i = 0; i < n; ++i) worst = std::max(worst, std::abs(qp[i] - pqp));
    if (worst < epsilon) break;
    for (size_t i = 0; i < n; ++i) {
      const double step = (pqp - qp[i]) / q[i * n + i];
      p[i] += step;
      pqp = (pqp + step * (step * q[i * n + i] + 2 * qp[i])) / ((1 + step) * (1 + step));
      for (size_t j = 0; j < n; ++j) {
        qp[j] = (qp[j] + step * q[i * n + j]) / (1 + step);
        p[j] /= 1 + step;
      }
    }
  }
}

void probabilities(const SvmState& s, std::span<const double> decisions, std::span<double> p) {
  constexpr double kMargin = 1e-7;  // of probabilities from 0 and 1, as in libsvm
  const size_t n = p.size();
  std::vector<double> r(n * n);
  size_t pair = 0;
  for (size_t i = 0; i + 1 < n; ++i)
    for (size_t j = i + 1; j < n; ++j, ++pair) {
      const double v = 1 - logistic(decisions[pair] * s.prob_a[pair] + s.prob_b[pair]);
      r[i * n + j] = std::clamp(v, kMargin, 1 - kMargin);
      r[j * n + i] = 1 - r[i * n + j];
    }
  couple(r, p);
}

size_t score_width(const SvmState& s) {
  const bool by_pair = !s.linear && s.prob_a.empty() && s.labels.count() > 2;
  return by_pair ? s.pairs() : s.labels.count();
}

// Of two classes the second wins as soon as any score says yes: that is what onnx's reference and
// onnxruntime do.
size_t linear_label(const SvmState& s, std::span<const double> scores) {
  const size_t best = first_greatest(scores);
  if (scores.size() != 2) return best;
  const bool positive =
      std::all_of(s.coefficients.begin(), s.coefficients.end(), [](double c) { return c >= 0; });
  return (positive ? scores[best] >= 0.5 : scores[best] > 0) ? 1 : best;
}

// Fills one row's scores and returns the index of its label.
size_t classify(const SvmState& s, const double* x, std::span<double> scores) {
  const size_t classes = s.labels.count();
  if (s.linear) {
    for (size_t c = 0; c < classes; ++c)
      scores[c] = evaluate(s, x, s.coefficients.data() + c * s.columns) + s.rho[0];
    const size_t label = linear_label(s, scores);
    apply_transform(s.transform, scores);
    return label;
  }
  std::vector<double> decisions(s.pairs()), votes(classes);
  decide(s, x, decisions, votes);
  if (!s.prob_a.empty()) {
    probabilities(s, decisions, scores);
    apply_transform(s.transform, scores);
  } else if (classes == 2) {
    write_binary(
        decisions[0],
        s.transform == PostTransform::kNone ? SecondScore::kNegated : SecondScore::kComplement,
        s.transform, scores);
  } else {
    std::copy(decisions.begin(), decisions.end(), scores.begin());
    apply_transform(s.transform, scores);
  }
  return first_greatest(votes);
}

Status classifier(KernelContext& ctx) {
  const auto& s = *static_cast<const SvmState*>(ctx.state());
  ONNXTOOL_ASSIGN(const FeatureShape shape, checked_shape(ctx, s));
  const size_t width = score_width(s);
  const Dims label_dims{shape.rows}, score_dims{shape.rows, static_cast<int64_t>(width)};
  ONNXTOOL_ASSIGN(const MutableView labels, ctx.output(0, s.labels.dtype(), label_dims));
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(1, DataType::kFloat, score_dims));
  ONNXTOOL_ASSIGN(const std::span<const double> x, features_of(ctx, ctx.input(0)));
  ctx.parallel(shape.rows, grain_of(static_cast<int64_t>(s.count * s.columns)),
               [&](int64_t begin, int64_t end) {
                 std::vector<double> scores(width);
                 for (int64_t row = begin; row < end; ++row) {
                   const size_t label = classify(s, x.data() + row * shape.columns, scores);
                   s.labels.write(label, labels, row);
                   store_scores(scores, y, row * static_cast<int64_t>(width));
                 }
               });
  return {};
}

}  // namespace

constinit const KernelInfo kSvmClassifier{.domain = "ai.onnx.ml",
                                          .op = "SVMClassifier",
                                          .types = kFeatureTypes,
                                          .prepare = prepare_classifier,
                                          .run = classifier};
constinit const KernelInfo kSvmRegressor{.domain = "ai.onnx.ml",
                                         .op = "SVMRegressor",
                                         .types = kFeatureTypes,
                                         .prepare = prepare_regressor,
                                         .run = regressor};

}  // namespace onnxtool
