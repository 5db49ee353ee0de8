#include "calib/kernels/cpu/ml/models.h"

#include <cmath>

#include "calib/kernels/cpu/convert.h"

namespace onnxtool {

Result<FeatureShape> feature_shape(const ConstView& x) {
  if (x.rank() == 1) return FeatureShape{1, x.dims[0]};
  if (x.rank() == 2) return FeatureShape{x.dims[0], x.dims[1]};
  return mismatch("input 0 has shape " + format_dims(x.dims) + ", expected rank 1 or 2");
}

Result<std::span<const double>> features_of(KernelContext& ctx, const ConstView& x) {
  if (wide_type(x.dtype) == DataType::kUndefined) return unsupported_type(x.dtype, "input 0");
  ONNXTOOL_ASSIGN(const ConstView wide, converted(ctx, x, DataType::kDouble));
  return wide.as<double>();
}

Result<PostTransform> post_transform_of(const NodeView& node) {
  const std::string_view name = node.attr_string("post_transform", "NONE");
  if (name == "NONE") return PostTransform::kNone;
  if (name == "SOFTMAX") return PostTransform::kSoftmax;
  if (name == "LOGISTIC") return PostTransform::kLogistic;
  if (name == "SOFTMAX_ZERO") return PostTransform::kSoftmaxZero;
  if (name == "PROBIT") return PostTransform::kProbit;
  return bad_model("post_transform is '" + std::string(name) +
                   "', expected NONE, SOFTMAX, LOGISTIC, SOFTMAX_ZERO or PROBIT");
}

double logistic(double x) {
  const double v = 1 / (1 + std::exp(-std::abs(x)));
  return x < 0 ? 1 - v : v;
}

namespace {

// The quantile function by Winitzki's approximation of the inverse error function, which is what
// onnx's reference and runtimes compute: the exact one would differ in the third digit.
double probit(double p) {
  constexpr double kA = 0.147, kPi = 3.14159;
  const double x = 2 * p - 1;
  const double log = std::log((1 - x) * (1 + x));
  const double v = 2 / (kPi * kA) + 0.5 * log;
  return std::sqrt(2.0) * std::copysign(std::sqrt(std::sqrt(v * v - log / kA) - v), x);
}

// With `keep_zeros`, scores of 0 stay (nearly) 0 instead of becoming exp(0).
void softmax(std::span<double> scores, bool keep_zeros) {
  constexpr double kZero = 1e-7;
  double max = -std::numeric_limits<double>::infinity(), sum = 0;
  for (const double s : scores) max = std::max(max, s);
  for (double& s : scores) {
    if (keep_zeros && std::abs(s) <= kZero) {
      s *= std::exp(-max);
    } else {
      s = std::exp(s - max);
      sum += s;
    }
  }
  for (double& s : scores) s /= sum;
}

}  // namespace

void apply_transform(PostTransform transform, std::span<double> scores) {
  switch (transform) {
    case PostTransform::kNone: return;
    case PostTransform::kSoftmax: return softmax(scores, false);
    case PostTransform::kSoftmaxZero: return softmax(scores, true);
    case PostTransform::kLogistic:
      for (double& s : scores) s = logistic(s);
      return;
    case PostTransform::kProbit:
      for (double& s : scores) s = probit(s);
      return;
  }
}

void apply_to_targets(PostTransform transform, std::span<double> scores) {
  if (scores.size() != 1 || transform == PostTransform::kProbit) apply_transform(transform, scores);
}

void write_binary(double score, SecondScore second, PostTransform transform,
                  std::span<double> out) {
  const bool margin = second == SecondScore::kNegated || transform == PostTransform::kLogistic;
  out[0] = margin ? -score : 1 - score;
  out[1] = score;
  if (transform == PostTransform::kProbit || transform == PostTransform::kLogistic)
    apply_transform(transform, out);
}

void store_scores(std::span<const double> scores, const MutableView& y, int64_t offset) {
  const auto at = [&]<class T>(T*) { return y.as<T>().data() + offset; };
  if (y.dtype == DataType::kDouble)
    std::copy(scores.begin(), scores.end(), at(static_cast<double*>(nullptr)));
  else if (y.dtype == DataType::kFloat16)
    std::transform(scores.begin(), scores.end(), at(static_cast<Half*>(nullptr)),
                   [](double s) { return Half(static_cast<float>(s)); });
  else
    std::transform(scores.begin(), scores.end(), at(static_cast<float*>(nullptr)),
                   [](double s) { return static_cast<float>(s); });
}

size_t first_greatest(std::span<const double> scores) {
  return static_cast<size_t>(std::max_element(scores.begin(), scores.end()) - scores.begin());
}

void ClassLabels::write(size_t index, const MutableView& out, int64_t row) const {
  if (are_strings())
    out.as<std::string>()[static_cast<size_t>(row)] = strings[index];
  else
    out.as<int64_t>()[static_cast<size_t>(row)] = ints[index];
}

ClassLabels labels_from(const NodeView& node, std::string_view strings, std::string_view ints) {
  ClassLabels labels;
  for (const std::string_view s : node.attr_strings(strings)) labels.strings.emplace_back(s);
  labels.ints = to_dims(node.attr_ints(ints));
  return labels;
}

Result<std::vector<double>> numbers_from(const NodeView& node, const std::string& name) {
  const auto floats = node.attr_floats(name);
  if (!floats.empty()) return std::vector<double>(floats.begin(), floats.end());
  const ConstView* tensor = node.attr_tensor(name + "_as_tensor");
  if (!tensor) return std::vector<double>();
  if (tensor->dtype != DataType::kFloat && tensor->dtype != DataType::kDouble)
    return unsupported_type(tensor->dtype, name + "_as_tensor");
  std::vector<double> values(static_cast<size_t>(tensor->count));
  convert_elements(tensor->dtype, tensor->data, DataType::kDouble, values.data(), 0, tensor->count);
  return values;
}

Error wrong_length(std::string_view name, size_t found, const std::string& expected) {
  return bad_model(std::string(name) + " has " + std::to_string(found) + " elements, expected " +
                   expected);
}

}  // namespace onnxtool
