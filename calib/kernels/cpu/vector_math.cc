// Chooses the level of the vector loops.

#include "calib/kernels/cpu/vector_math.h"

#include "libopt/support/cpu_level.h"

namespace onnxtool {

const VectorMath& vector_math() {
#if defined(__x86_64__)
  return best_of(kVectorMathBaseline, kVectorMathAvx2, kVectorMathAvx512);
#else
  return kVectorMathBaseline;
#endif
}

}  // namespace onnxtool
