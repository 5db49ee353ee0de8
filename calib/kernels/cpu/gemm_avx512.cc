// Micro-kernels for AVX-512 (F, BW, VL, DQ, VNNI): 512-bit vectors, thirty-two registers.

#include <immintrin.h>

#include "calib/kernels/cpu/gemm_tile.h"

namespace onnxtool {
namespace {

struct Avx512 {
  static constexpr int kBytes = 64;
  template <class T>
  static constexpr int rows() {
    return 12;
  }
  template <class T>
  static constexpr int cols() {
    return 2 * kBytes / static_cast<int>(sizeof(T));
  }
  static constexpr int kIntRows = 12;
  static constexpr int kIntCols = 32;

  static VectorOf<float, kBytes>::type multiply_add(VectorOf<float, kBytes>::type a,
                                                    VectorOf<float, kBytes>::type b,
                                                    VectorOf<float, kBytes>::type c) {
    return _mm512_fmadd_ps(a, b, c);
  }
  static VectorOf<double, kBytes>::type multiply_add(VectorOf<double, kBytes>::type a,
                                                     VectorOf<double, kBytes>::type b,
                                                     VectorOf<double, kBytes>::type c) {
    return _mm512_fmadd_pd(a, b, c);
  }

  using Ints = VectorOf<uint32_t, kBytes>::type;
  static Ints pair_multiply_add(Ints a, Ints b, Ints c) {
    return reinterpret_cast<Ints>(_mm512_dpwssd_epi32(
        reinterpret_cast<__m512i>(c), reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
  }
};

}  // namespace

constinit const GemmIsa kGemmAvx512 = table<Avx512>("avx512");

}  // namespace onnxtool
