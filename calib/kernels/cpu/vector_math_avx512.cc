// Vector loops for AVX-512.

#include "calib/kernels/cpu/vector_math_loops.h"

namespace onnxtool {

constinit const VectorMath kVectorMathAvx512 = kTable;

}  // namespace onnxtool
