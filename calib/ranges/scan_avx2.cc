// Scan with vectors of 8 floats. Values that are not zero move to the front of their vector by a
// table of permutations.

#if defined(__x86_64__)

#include <immintrin.h>

#include "calib/ranges/scan_tail.h"

namespace onnxtool {
namespace {

constexpr size_t kLanes = 8;

// lanes[mask]: those whose bit is set, in order.
struct Front {
  int32_t lanes[256][kLanes] = {};
  constexpr Front() {
    for (size_t mask = 0; mask < 256; ++mask)
      for (size_t lane = 0, to = 0; lane < kLanes; ++lane)
        if (mask >> lane & 1) lanes[mask][to++] = static_cast<int32_t>(lane);
  }
};
constexpr Front kFront;

struct Lanes {
  __m256 min, max, min_abs, nan = _mm256_setzero_ps();
  __m256i zeros = _mm256_setzero_si256();  // minus their number

  explicit Lanes(const Extrema& e)
      : min(_mm256_set1_ps(e.min)),
        max(_mm256_set1_ps(e.max)),
        min_abs(_mm256_set1_ps(e.min_abs)) {}

  // The lanes that hold zeros, all ones. NaN stays out of min and max: they give their second
  // operand then.
  __m256 take(__m256 v) {
    min = _mm256_min_ps(v, min);
    max = _mm256_max_ps(v, max);
    nan = _mm256_or_ps(nan, _mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    const __m256 zero = _mm256_cmp_ps(v, _mm256_setzero_ps(), _CMP_EQ_OQ);
    zeros = _mm256_add_epi32(zeros, _mm256_castps_si256(zero));
    return zero;
  }

  void into(Extrema& e) const {
    alignas(32) float low[kLanes], high[kLanes], small[kLanes];
    alignas(32) int32_t count[kLanes];
    _mm256_store_ps(low, min);
    _mm256_store_ps(high, max);
    _mm256_store_ps(small, min_abs);
    _mm256_store_si256(reinterpret_cast<__m256i*>(count), zeros);
    for (size_t i = 0; i < kLanes; ++i) {
      e.min = low[i] < e.min ? low[i] : e.min;
      e.max = high[i] > e.max ? high[i] : e.max;
      e.min_abs = small[i] < e.min_abs ? small[i] : e.min_abs;
      e.zeros += static_cast<uint32_t>(-count[i]);
    }
    e.nan |= _mm256_movemask_ps(nan) != 0;
  }
};

void extrema(Extrema& e, const float* x, size_t n) {
  Lanes even(e), odd(e);  // two, for the latency of min and max
  size_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    even.take(_mm256_loadu_ps(x + i));
    odd.take(_mm256_loadu_ps(x + i + kLanes));
  }
  even.into(e);
  odd.into(e);
  for (; i < n; ++i) take_extrema(e, x[i]);
}

size_t buckets(Extrema& e, const float* x, size_t n, uint32_t* to) {
  Lanes lanes(e);
  const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
  const __m256 infinity = _mm256_set1_ps(Extrema::kInfinity);
  size_t kept = 0, i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const __m256 v = _mm256_loadu_ps(x + i);
    const __m256 zero = lanes.take(v);
    lanes.min_abs =
        _mm256_min_ps(_mm256_blendv_ps(_mm256_and_ps(v, magnitude), infinity, zero), lanes.min_abs);
    const auto mask = static_cast<uint32_t>(~_mm256_movemask_ps(zero)) & 0xff;
    const __m256i front = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kFront.lanes[mask]));
    _mm256_storeu_si256(
        reinterpret_cast<__m256i*>(to + kept),
        _mm256_permutevar8x32_epi32(_mm256_srli_epi32(_mm256_castps_si256(v), 15), front));
    kept += static_cast<size_t>(__builtin_popcount(mask));
  }
  lanes.into(e);
  for (; i < n; ++i) kept += take_bucket(e, x[i], to + kept);
  return kept;
}

}  // namespace

constinit const Scan kScanAvx2{extrema, buckets};

}  // namespace onnxtool

#endif
