// The loops of AdaRound over a row's weights, compiled for several instruction sets. All have the
// same operations in the same order.
#pragma once

#include <cstdint>

namespace onnxtool {

/// AdaRound's soft rounding: the sigmoid is stretched beyond [0, 1] and cut there.
inline constexpr float kRoundingStretch = 1.2f, kRoundingOffset = -0.1f;

/// Adam's, of its paper: what is kept of the mean and of the mean square.
inline constexpr double kMeanDecay = 0.9, kSquareDecay = 0.999;

/// errors[i] = weights[i] - (floors[i] + h(up[i])) * scale, h being the stretched sigmoid.
void soft_errors(const float* weights, const float* floors, const float* up, float scale,
                 float* errors, int64_t n);

/// out[i] = factor * ln |2 h(up[i]) - 1|, to within 2e-4; the logarithm of 0 is some -88.
void penalty_exponents(const float* up, float factor, float* out, int64_t n);

/// A step of Adam on the variables before the sigmoid.
struct AdamStep {
  float slope = 0;        // what the gradient by the errors counts
  float penalty = 0;      // what the penalty's slope counts; 0: there is none
  float rate = 0;         // over 1 - kMeanDecay^t
  float square_gain = 1;  // 1 / (1 - kSquareDecay^t)
};
/// `slopes` are by the errors, `powers` |2 h - 1|^(b - 1); `v`, `mean` and `square` change.
void adam_step(const AdamStep& step, const float* up, const float* slopes, const float* powers,
               float* v, float* mean, float* square, int64_t n);

/// y[i] += a * x[i]
void add_multiple(float a, const float* x, float* y, int64_t n);

}  // namespace onnxtool
