// Scan with vectors of 16 floats; the processor itself moves the lanes of a mask to the front.

#if defined(__x86_64__)

#include <immintrin.h>

#include "calib/ranges/scan_tail.h"

namespace onnxtool {
namespace {

constexpr size_t kLanes = 16;

struct Lanes {
  __m512 min, max, min_abs;
  uint64_t zeros = 0;
  uint32_t nan = 0;

  explicit Lanes(const Extrema& e)
      : min(_mm512_set1_ps(e.min)),
        max(_mm512_set1_ps(e.max)),
        min_abs(_mm512_set1_ps(e.min_abs)) {}

  // The lanes that are not zero. NaN stays out of min and max: they give their second operand then.
  __mmask16 take(__m512 v) {
    min = _mm512_min_ps(v, min);
    max = _mm512_max_ps(v, max);
    nan |= _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    const __mmask16 used = _mm512_cmp_ps_mask(v, _mm512_setzero_ps(), _CMP_NEQ_UQ);
    zeros += kLanes - static_cast<uint64_t>(__builtin_popcount(used));
    return used;
  }

  void into(Extrema& e) const {
    alignas(64) float low[kLanes], high[kLanes], small[kLanes];
    _mm512_store_ps(low, min);
    _mm512_store_ps(high, max);
    _mm512_store_ps(small, min_abs);
    for (size_t i = 0; i < kLanes; ++i) {
      e.min = low[i] < e.min ? low[i] : e.min;
      e.max = high[i] > e.max ? high[i] : e.max;
      e.min_abs = small[i] < e.min_abs ? small[i] : e.min_abs;
    }
    e.zeros += zeros;
    e.nan |= nan != 0;
  }
};

void extrema(Extrema& e, const float* x, size_t n) {
  Lanes even(e), odd(e);  // two, for the latency of min and max
  size_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    even.take(_mm512_loadu_ps(x + i));
    odd.take(_mm512_loadu_ps(x + i + kLanes));
  }
  even.into(e);
  odd.into(e);
  for (; i < n; ++i) take_extrema(e, x[i]);
}

size_t buckets(Extrema& e, const float* x, size_t n, uint32_t* to) {
  Lanes lanes(e);
  size_t kept = 0, i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const __m512 v = _mm512_loadu_ps(x + i);
    const __mmask16 used = lanes.take(v);
    lanes.min_abs = _mm512_mask_min_ps(lanes.min_abs, used, _mm512_abs_ps(v), lanes.min_abs);
    // Stored whole: a store under a mask of lanes to compress is slow on some processors.
    _mm512_storeu_si512(to + kept, _mm512_maskz_compress_epi32(
                                       used, _mm512_srli_epi32(_mm512_castps_si512(v), 15)));
    kept += static_cast<size_t>(__builtin_popcount(used));
  }
  lanes.into(e);
  for (; i < n; ++i) kept += take_bucket(e, x[i], to + kept);
  return kept;
}

}  // namespace

constinit const Scan kScanAvx512{extrema, buckets};

}  // namespace onnxtool

#endif
