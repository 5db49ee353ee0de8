// Arithmetic on sizes that come from files: every product and sum is checked for overflow.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>

namespace onnxtool {

inline std::optional<int64_t> checked_mul(int64_t a, int64_t b) {
  int64_t r;
  if (__builtin_mul_overflow(a, b, &r)) return std::nullopt;
  return r;
}
inline std::optional<int64_t> checked_add(int64_t a, int64_t b) {
  int64_t r;
  if (__builtin_add_overflow(a, b, &r)) return std::nullopt;
  return r;
}
/// Product of extents; nullopt when one is negative or the product passes int64.
/// A zero anywhere gives zero, whatever the others would overflow to.
inline std::optional<int64_t> checked_product(std::span<const int64_t> dims) {
  bool zero = false;
  for (int64_t d : dims) {
    if (d < 0) return std::nullopt;
    zero |= d == 0;
  }
  if (zero) return 0;
  int64_t r = 1;
  for (int64_t d : dims)
    if (__builtin_mul_overflow(r, d, &r)) return std::nullopt;
  return r;
}

}  // namespace onnxtool
