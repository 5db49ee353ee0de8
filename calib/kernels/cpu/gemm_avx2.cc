// Micro-kernels for AVX2 with FMA: 256-bit vectors, sixteen registers.

#include <immintrin.h>

#include "calib/kernels/cpu/gemm_tile.h"

namespace onnxtool {
namespace {

struct Avx2 {
  static constexpr int kBytes = 32;
  template <class T>
  static constexpr int rows() {
    return 6;
  }
  template <class T>
  static constexpr int cols() {
    return 2 * kBytes / static_cast<int>(sizeof(T));
  }
  static constexpr int kIntRows = 6;
  static constexpr int kIntCols = 16;

  static VectorOf<float, kBytes>::type multiply_add(VectorOf<float, kBytes>::type a,
                                                    VectorOf<float, kBytes>::type b,
                                                    VectorOf<float, kBytes>::type c) {
    return _mm256_fmadd_ps(a, b, c);
  }
  static VectorOf<double, kBytes>::type multiply_add(VectorOf<double, kBytes>::type a,
                                                     VectorOf<double, kBytes>::type b,
                                                     VectorOf<double, kBytes>::type c) {
    return _mm256_fmadd_pd(a, b, c);
  }

  using Ints = VectorOf<uint32_t, kBytes>::type;
  static Ints pair_multiply_add(Ints a, Ints b, Ints c) {
    return reinterpret_cast<Ints>(_mm256_add_epi32(
        reinterpret_cast<__m256i>(c),
        _mm256_madd_epi16(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b))));
  }
};

}  // namespace

constinit const GemmIsa kGemmAvx2 = table<Avx2>("avx2");

}  // namespace onnxtool
