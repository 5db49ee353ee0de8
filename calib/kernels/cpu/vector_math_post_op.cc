#include "calib/kernels/cpu/vector_math_post_op.h"

#include <algorithm>
#include <limits>

#include "calib/kernels/cpu/vector_math.h"

namespace onnxtool {
namespace {

void silu(float* y, int64_t n) {
  constexpr int64_t kPart = 256;
  float gate[kPart];
  for (int64_t i = 0; i < n; i += kPart) {
    const int64_t count = std::min(kPart, n - i);
    vector_math().sigmoid(y + i, gate, count);
    vector_math().mul(y + i, 1, gate, 1, y + i, count);
  }
}

}  // namespace

void apply_post_op(const PostOp& op, float* y, int64_t n) {
  using Kind = PostOp::Kind;
  const VectorMath& math = vector_math();
  switch (op.kind) {
    case Kind::kAdd: return;
    case Kind::kRelu: return math.clip(y, y, n, 0, std::numeric_limits<float>::infinity());
    case Kind::kLeakyRelu:
      for (int64_t i = 0; i < n; ++i) y[i] = y[i] < 0 ? y[i] * op.alpha : y[i];
      return;
    case Kind::kClip: return math.clip(y, y, n, op.alpha, op.beta);
    case Kind::kSigmoid: return math.sigmoid(y, y, n);
    case Kind::kTanh: return math.tanh(y, y, n);
    case Kind::kHardSwish: return math.hard_swish(y, y, n);
    case Kind::kSilu: return silu(y, n);
    case Kind::kHardSigmoid: return math.hard_sigmoid(y, y, n, op.alpha, op.beta);
  }
}

}  // namespace onnxtool
