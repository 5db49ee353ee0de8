// Right and wrong answers of classifiers.
#include <algorithm>
#include <cmath>

#include "calib/compare/metric_sums.h"
#include "libopt/ir/tensor.h"

namespace onnxtool {

int64_t argmax(const ConstView& scores) {
  std::vector<double> values;
  visit_floating(scores.dtype, [&]<class T>(T) {
    for (const T v : scores.as<T>()) values.push_back(widen(v));
  });
  return argmax_of(values);
}

Status ClassAccuracy::add(int64_t sample, const ConstView& reference, const ConstView& test,
                          int64_t label) {
  for (const auto& [view, side] : {std::pair(&reference, "reference"), std::pair(&test, "test")}) {
    const auto wide =
        std::count_if(view->dims.begin(), view->dims.end(), [](int64_t d) { return d != 1; });
    if (!is_float(view->dtype) || wide > 1)
      return Error{ErrorCode::kMismatch,
                   std::string(side) + " scores are " + std::string(name(view->dtype)) +
                       format_dims(view->dims) + ", expected floats with one extent above 1",
                   {}};
    if (label < 0 || label >= view->count)
      return Error{ErrorCode::kMismatch,
                   "label is " + std::to_string(label) + ", but the " + side + " has " +
                       std::to_string(view->count) + " classes",
                   {}};
  }
  ONNXTOOL_CHECK(
      images_.emplace(sample, Image{argmax(reference) == label, argmax(test) == label}).second);
  return {};
}

int64_t ClassAccuracy::reference_correct() const {
  return std::count_if(images_.begin(), images_.end(),
                       [](const auto& i) { return i.second.reference; });
}
int64_t ClassAccuracy::test_correct() const {
  return std::count_if(images_.begin(), images_.end(), [](const auto& i) { return i.second.test; });
}
std::vector<int64_t> ClassAccuracy::lost() const {
  std::vector<int64_t> ids;
  for (const auto& [id, i] : images_)
    if (i.reference && !i.test) ids.push_back(id);
  return ids;
}
std::vector<int64_t> ClassAccuracy::won() const {
  std::vector<int64_t> ids;
  for (const auto& [id, i] : images_)
    if (!i.reference && i.test) ids.push_back(id);
  return ids;
}
std::optional<double> ClassAccuracy::drop() const {
  if (images_.empty()) return std::nullopt;
  return 100.0 * static_cast<double>(reference_correct() - test_correct()) /
         static_cast<double>(images_.size());
}
Verdict ClassAccuracy::judge_drop(double limit) const {
  const auto d = drop();
  if (!d) return Verdict::kNone;
  return *d <= limit ? Verdict::kPass : Verdict::kFail;
}

}  // namespace onnxtool
