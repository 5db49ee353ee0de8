// Random numbers of the seeded operators: the Mersenne Twister with the conversions of numpy's
// RandomState, so that a seed gives what onnx's reference implementation gives for it. An operator
// without a seed takes seed 0: a model gives the same outputs on every run.
#pragma once

#include <cmath>
#include <random>

#include "calib/kernels/cpu/convert.h"

namespace onnxtool {

class RandomState {
 public:
  explicit RandomState(int64_t seed) : bits_(static_cast<uint32_t>(seed)) {}

  /// In [0, 1), 53 random bits.
  double uniform() {
    const uint32_t high = static_cast<uint32_t>(bits_()) >> 5,
                   low = static_cast<uint32_t>(bits_()) >> 6;
    return (high * 67108864.0 + low) / 9007199254740992.0;
  }
  /// Standard normal; they come in pairs.
  double normal() {
    if (has_spare_) {
      has_spare_ = false;
      return spare_;
    }
    double a, b, square;
    do {
      a = 2 * uniform() - 1;
      b = 2 * uniform() - 1;
      square = a * a + b * b;
    } while (square >= 1 || square == 0);
    const double factor = std::sqrt(-2 * std::log(square) / square);
    spare_ = factor * a;
    has_spare_ = true;
    return factor * b;
  }

 private:
  std::mt19937 bits_;
  double spare_ = 0;
  bool has_spare_ = false;
};

/// From the float attribute `seed`.
inline RandomState random_state(const NodeView& node) {
  return RandomState(to_int64(node.attr_float("seed", 0)));
}

}  // namespace onnxtool
