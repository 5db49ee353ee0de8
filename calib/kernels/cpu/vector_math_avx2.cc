// Vector loops for AVX2.

#include "calib/kernels/cpu/vector_math_loops.h"

namespace onnxtool {

constinit const VectorMath kVectorMathAvx2 = kTable;

}  // namespace onnxtool
