// Micro-kernels for the baseline of the target: 128-bit vectors, no fused multiply-add, so that
// folding gives the same bits on every machine.

#include "calib/kernels/cpu/gemm_tile.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace onnxtool {
namespace {

struct Baseline {
  static constexpr int kBytes = 16;
  template <class T>
  static constexpr int rows() {
    return 6;
  }
  template <class T>
  static constexpr int cols() {
    return 2 * kBytes / static_cast<int>(sizeof(T));
  }
  static constexpr int kIntRows = 6;
  static constexpr int kIntCols = 8;

  template <class V>
  static V multiply_add(V a, V b, V c) {
    return a * b + c;
  }

  using Ints = VectorOf<uint32_t, kBytes>::type;
  static Ints pair_multiply_add(Ints a, Ints b, Ints c) {
#if defined(__SSE2__)
    return reinterpret_cast<Ints>(
        _mm_add_epi32(reinterpret_cast<__m128i>(c),
                      _mm_madd_epi16(reinterpret_cast<__m128i>(a), reinterpret_cast<__m128i>(b))));
#else
    using Words = VectorOf<int16_t, kBytes>::type;
    const Words x = reinterpret_cast<Words>(a), y = reinterpret_cast<Words>(b);
    Ints sum = c;
    for (int i = 0; i < 4; ++i)
      sum[i] += static_cast<uint32_t>(x[2 * i] * y[2 * i]) +
                static_cast<uint32_t>(x[2 * i + 1] * y[2 * i + 1]);
    return sum;
#endif
  }
};

}  // namespace

constinit const GemmIsa kGemmBaseline = table<Baseline>("baseline");

}  // namespace onnxtool
