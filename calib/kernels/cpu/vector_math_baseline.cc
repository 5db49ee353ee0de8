// Vector loops for the baseline of the target.

#include "calib/kernels/cpu/vector_math_loops.h"

namespace onnxtool {

constinit const VectorMath kVectorMathBaseline = kTable;

}  // namespace onnxtool
