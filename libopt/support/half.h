// 16-bit float types, converted in software: the same bits on every machine. Header-only.
#pragma once

#include <bit>
#include <cstdint>

#include "libopt/ir/dtype.h"

namespace onnxtool {

/// IEEE 754 binary16. Rounds to nearest even; overflow gives infinity, NaN stays NaN.
struct Half {
  uint16_t bits = 0;
  Half() = default;
  explicit Half(float f) {
    const uint32_t x = std::bit_cast<uint32_t>(f);
    const uint32_t sign = (x >> 16) & 0x8000u;
    const uint32_t magnitude = x & 0x7fffffffu;
    if (magnitude >= 0x7f800000u) {  // infinity or NaN
      bits = static_cast<uint16_t>(sign | 0x7c00u | (magnitude > 0x7f800000u ? 0x200u : 0u));
    } else if (magnitude >= 0x477ff000u) {  // rounds to at least 65520
      bits = static_cast<uint16_t>(sign | 0x7c00u);
    } else if (magnitude < 0x38800000u) {  // subnormal half: add a magic number, the FPU rounds
      const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
      bits = static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3f000000u));
    } else {
      const uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u) - 0x38000000u;
      bits = static_cast<uint16_t>(sign | (rounded >> 13));
    }
  }
  explicit Half(double d) : Half(static_cast<float>(d)) {}
  operator float() const {  // NOLINT: implicit on purpose, widening is exact
    const uint32_t sign = (bits & 0x8000u) << 16;
    const uint32_t magnitude = bits & 0x7fffu;
    if (magnitude >= 0x7c00u)
      return std::bit_cast<float>(sign | 0x7f800000u | ((magnitude & 0x3ffu) << 13));
    if (magnitude >= 0x400u) return std::bit_cast<float>(sign | ((magnitude << 13) + 0x38000000u));
    const float value = static_cast<float>(magnitude) * 0x1p-24f;
    return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(value));
  }
};

/// The upper half of a binary32. Rounds to nearest even.
struct Bfloat16 {
  uint16_t bits = 0;
  Bfloat16() = default;
  explicit Bfloat16(float f) {
    const uint32_t x = std::bit_cast<uint32_t>(f);
    bits = (x & 0x7fffffffu) > 0x7f800000u
               ? static_cast<uint16_t>((x >> 16) | 0x40u)
               : static_cast<uint16_t>((x + 0x7fffu + ((x >> 16) & 1u)) >> 16);
  }
  explicit Bfloat16(double d) : Bfloat16(static_cast<float>(d)) {}
  operator float() const {
    return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
  }  // NOLINT: exact
};

template <>
inline constexpr DataType dtype_of<Half> = DataType::kFloat16;
template <>
inline constexpr DataType dtype_of<Bfloat16> = DataType::kBfloat16;

/// The type in which kernels accumulate a T.
template <class T>
struct AccumulatorFor {
  using type = T;
};
template <>
struct AccumulatorFor<Half> {
  using type = float;
};
template <>
struct AccumulatorFor<Bfloat16> {
  using type = float;
};
template <class T>
using AccumulatorOf = typename AccumulatorFor<T>::type;

}  // namespace onnxtool
