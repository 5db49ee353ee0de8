// Rounding to an 8-bit float, without its code: what calibrators and the choice of a scale need.
#pragma once

#include <bit>
#include <cstdint>

#include "calib/ranges/calibrator.h"

namespace onnxtool {

/// The value of `scheme`'s format nearest to y, ties to even; what lies beyond its largest value is
/// the caller's to clip. |y| is at most 2^100 and scheme.is_float8().
inline float nearest_float8(float y, const QuantScheme& scheme) {
  // Adding 2^(e + 23 - m) leaves m bits of the mantissa of a float with exponent e; the sum's own
  // rounding is half to even.
  const auto bits = std::bit_cast<uint32_t>(y);
  const uint32_t sign = bits & 0x80000000u, magnitude = bits & 0x7fffffffu;
  const auto least = static_cast<uint32_t>(scheme.min_exponent + 127) << 23;
  uint32_t exponent = bits & 0x7f800000u;
  exponent = exponent < least ? least : exponent;
  const auto shift =
      std::bit_cast<float>(exponent + (static_cast<uint32_t>(23 - scheme.mantissa_bits) << 23));
  const float rounded = (std::bit_cast<float>(magnitude) + shift) - shift;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(rounded) | sign);
}

}  // namespace onnxtool
