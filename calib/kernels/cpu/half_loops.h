// float16 to float and back, for the files of vector_math_loops.h and under its rules. The CPU's
// own conversions are used where the level has them; what they do otherwise than Half (they quieten
// NaN and keep its payload) is left to the plain loops, which round by integer arithmetic.
#pragma once

#include <cstdint>

#if defined(__F16C__)
#include <immintrin.h>
#endif

namespace onnxtool {
namespace {

inline float as_float(uint32_t bits) { return __builtin_bit_cast(float, bits); }
inline uint32_t as_bits(float x) { return __builtin_bit_cast(uint32_t, x); }

inline void widen_plain(const uint16_t* x, float* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t sign = (x[i] & 0x8000u) << 16, magnitude = x[i] & 0x7fffu;
    // Subnormals: put the mantissa below 2^-14's exponent and subtract 2^-14, exactly.
    const uint32_t normal = (magnitude << 13) + (magnitude >= 0x7c00u ? 0x70000000u : 0x38000000u);
    const float small = as_float((magnitude << 13) + 0x38800000u) - 0x1p-14f;
    const uint32_t bits = magnitude < 0x400u ? as_bits(small) : normal;
    y[i] = as_float(bits | sign);
  }
}

inline void narrow_plain(const float* x, uint16_t* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t bits = as_bits(x[i]);
    const uint32_t sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
    const uint32_t normal = (magnitude + 0xfffu + ((magnitude >> 13) & 1u) - 0x38000000u) >> 13;
    // Adding one half shifts a subnormal's bits to where they belong, rounded.
    const float shifted = as_float(magnitude) + 0.5f;
    const uint32_t small = as_bits(shifted) - 0x3f000000u;
    const uint32_t large = magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u;
    const uint32_t found = magnitude < 0x38800000u ? small : normal;
    y[i] = static_cast<uint16_t>(sign | (magnitude >= 0x477ff000u ? large : found));
  }
}

#if defined(__F16C__)
constexpr int64_t kHalfLanes = 8;
// Eight elements; false: there is a NaN among them, and nothing was stored.
inline bool widen_lanes(const uint16_t* x, float* y) {
  const __m256 wide = _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x)));
  if (_mm256_movemask_ps(_mm256_cmp_ps(wide, wide, _CMP_UNORD_Q)) != 0) return false;
  _mm256_storeu_ps(y, wide);
  return true;
}
inline bool narrow_lanes(const float* x, uint16_t* y) {
  const __m256 wide = _mm256_loadu_ps(x);
  if (_mm256_movemask_ps(_mm256_cmp_ps(wide, wide, _CMP_UNORD_Q)) != 0) return false;
  _mm_storeu_si128(reinterpret_cast<__m128i*>(y),
                   _mm256_cvtps_ph(wide, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  return true;
}
#endif

inline void widen_half_loop(const uint16_t* x, float* y, int64_t n) {
  int64_t i = 0;
#if defined(__F16C__)
  for (; i + kHalfLanes <= n; i += kHalfLanes)
    if (!widen_lanes(x + i, y + i)) widen_plain(x + i, y + i, kHalfLanes);
#endif
  widen_plain(x + i, y + i, n - i);
}

inline void narrow_half_loop(const float* x, uint16_t* y, int64_t n) {
  int64_t i = 0;
#if defined(__F16C__)
  for (; i + kHalfLanes <= n; i += kHalfLanes)
    if (!narrow_lanes(x + i, y + i)) narrow_plain(x + i, y + i, kHalfLanes);
#endif
  narrow_plain(x + i, y + i, n - i);
}

}  // namespace
}  // namespace onnxtool
