#include "apps/extremes.h"

#include <algorithm>
#include <bit>
#include <optional>
#include <utility>
#include <vector>

#include "calib/compare/floating.h"

namespace onnxtool {
namespace {

Scalar shown(uint64_t v) {
  return std::in_range<int64_t>(v) ? Scalar(static_cast<int64_t>(v)) : Scalar(std::to_string(v));
}

// Unsigned numbers of full width as they are; what does not fit stands as text.
std::optional<uint64_t> as_unsigned(const Scalar& s) {
  if (const auto* v = std::get_if<int64_t>(&s)) return static_cast<uint64_t>(*v);
  if (const auto* text = std::get_if<std::string>(&s)) return std::stoull(*text);
  return std::nullopt;
}

template <class T>
void widen(Scalar& low, Scalar& high, T least, T greatest) {
  const auto *l = std::get_if<T>(&low), *h = std::get_if<T>(&high);
  low = l ? std::min(*l, least) : least;
  high = h ? std::max(*h, greatest) : greatest;
}

}  // namespace

void ExactExtremes::add(const Tensor& t, const TensorStatistics& s) {
  if (s.finite == 0) return;
  if (is_any_float(t.dtype())) return widen(low_, high_, s.min, s.max);
  const std::vector<int64_t> values = t.to_ints();
  if (t.dtype() != DataType::kUint64) {
    const auto [least, greatest] = std::ranges::minmax(values);
    return widen(low_, high_, least, greatest);
  }
  const auto bits = [](int64_t v) { return std::bit_cast<uint64_t>(v); };
  const auto [least, greatest] = std::ranges::minmax_element(values, {}, bits);
  low_ = shown(std::min(as_unsigned(low_).value_or(bits(*least)), bits(*least)));
  high_ = shown(std::max(as_unsigned(high_).value_or(bits(*greatest)), bits(*greatest)));
}

}  // namespace onnxtool
