// Chooses the level of the vector loops.

#include "calib/kernels/cpu/vector_math.h"

namespace onnxtool {

const VectorMath& vector_math() {
#if defined(__x86_64__)
  static const VectorMath& kChosen =
      __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
              __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
              __builtin_cpu_supports("avx512vnni")
          ? kVectorMathAvx512
      : __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? kVectorMathAvx2
                                                                        : kVectorMathBaseline;
  return kChosen;
#else
  return kVectorMathBaseline;
#endif
}

}  // namespace onnxtool
