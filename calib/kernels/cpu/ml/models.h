// What the models of ai.onnx.ml share: rows of features, class labels, scores and what follows
// them.
#pragma once

#include <span>

#include "calib/kernels/cpu/common.h"

namespace onnxtool {

/// Element types that the models take. All are computed in double and rounded once.
inline constexpr std::initializer_list<DataType> kFeatureTypes = {
    DataType::kFloat, DataType::kDouble, DataType::kInt64, DataType::kInt32};

/// X as [rows, columns]: a vector is one row.
struct FeatureShape {
  int64_t rows = 1, columns = 0;
};
Result<FeatureShape> feature_shape(const ConstView& x);
/// All elements as double, row by row.
Result<std::span<const double>> features_of(KernelContext& ctx, const ConstView& x);

/// What is done to the scores of one row at the end.
enum class PostTransform : uint8_t { kNone, kSoftmax, kLogistic, kSoftmaxZero, kProbit };
/// Attribute post_transform; NONE where it is absent.
Result<PostTransform> post_transform_of(const NodeView& node);
void apply_transform(PostTransform transform, std::span<double> scores);
/// A regression's scores: a single one is passed through, but for PROBIT, as onnxruntime does.
void apply_to_targets(PostTransform transform, std::span<double> scores);

double logistic(double x);

/// Writes scores as elements [offset, offset + scores.size()) of y: float, double or float16.
void store_scores(std::span<const double> scores, const MutableView& y, int64_t offset);

/// A binary model that has one score s: what its two columns become. LOGISTIC takes it as a margin
/// in any case.
enum class SecondScore : uint8_t {
  kComplement,  // 1 - s, s: s is a probability
  kNegated,     // -s, s: s is a margin
};
void write_binary(double score, SecondScore second, PostTransform transform, std::span<double> out);

/// Index of the greatest, the first of equals. `scores` must not be empty.
size_t first_greatest(std::span<const double> scores);

/// Class labels, either strings or integers.
struct ClassLabels {
  std::vector<std::string> strings;
  std::vector<int64_t> ints;

  bool are_strings() const { return !strings.empty(); }
  size_t count() const { return are_strings() ? strings.size() : ints.size(); }
  DataType dtype() const { return are_strings() ? DataType::kString : DataType::kInt64; }
  /// Writes label `index` as element `row` of `out`.
  void write(size_t index, const MutableView& out, int64_t row) const;
};
/// From the attributes of these names; both present: strings.
ClassLabels labels_from(const NodeView& node, std::string_view strings, std::string_view ints);

/// Attribute `name`, or where it is absent the tensor attribute `name`_as_tensor (float or double).
Result<std::vector<double>> numbers_from(const NodeView& node, const std::string& name);
/// An error that says how many elements attribute `name` has.
Error wrong_length(std::string_view name, size_t found, const std::string& expected);

}  // namespace onnxtool
