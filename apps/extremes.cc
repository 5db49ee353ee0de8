#include "apps/extremes.h"

#include <algorithm>
#include <bit>
#include <string>
#include <utility>
#include <vector>

#include "calib/compare/floating.h"

namespace onnxtool {
namespace {

Scalar shown(std::monostate) { return {}; }
Scalar shown(double v) { return v; }
Scalar shown(int64_t v) { return v; }
Scalar shown(uint64_t v) {
  return std::in_range<int64_t>(v) ? Scalar(static_cast<int64_t>(v)) : Scalar(std::to_string(v));
}

}  // namespace

template <class T>
void ExactExtremes::widen(T least, T greatest) {
  if (auto* range = std::get_if<Range<T>>(&range_))
    *range = {std::min(range->low, least), std::max(range->high, greatest)};
  else
    range_ = Range<T>{least, greatest};
}

void ExactExtremes::add(const Tensor& t, const TensorStatistics& s) {
  if (s.finite == 0) return;
  if (is_any_float(t.dtype())) return widen(s.min, s.max);
  const std::vector<int64_t> values = t.to_ints();
  if (t.dtype() != DataType::kUint64) {
    const auto [least, greatest] = std::ranges::minmax(values);
    return widen(least, greatest);
  }
  const auto bits = [](int64_t v) { return std::bit_cast<uint64_t>(v); };
  const auto [least, greatest] = std::ranges::minmax_element(values, {}, bits);
  widen(bits(*least), bits(*greatest));
}

template <class Pick>
Scalar ExactExtremes::picked(Pick pick) const {
  return std::visit(
      [&](const auto& range) {
        if constexpr (requires { range.low; })
          return shown(pick(range));
        else
          return shown(range);
      },
      range_);
}

Scalar ExactExtremes::min() const {
  return picked([](const auto& range) { return range.low; });
}

Scalar ExactExtremes::max() const {
  return picked([](const auto& range) { return range.high; });
}

}  // namespace onnxtool
