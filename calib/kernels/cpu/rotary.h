// Rotary position embedding of one row: pairs of its first elements are turned by the position's
// angles.
#pragma once

#include <algorithm>
#include <cstdint>

namespace onnxtool {

struct RotaryShape {
  int64_t size = 0;          // elements of a row
  int64_t half = 0;          // pairs that are turned: elements [0, 2 * half)
  bool interleaved = false;  // pairs (2i, 2i + 1), else (i, i + half)
};

/// y = x turned; cos and sin hold `half` values. y may be x.
template <class T>
void rotate_row(const T* x, T* y, const RotaryShape& shape, const T* cos, const T* sin) {
  const int64_t step = shape.interleaved ? 2 : 1, other = shape.interleaved ? 1 : shape.half;
  for (int64_t i = 0; i < shape.half; ++i) {
    const T a = x[i * step], b = x[i * step + other];
    y[i * step] = cos[i] * a - sin[i] * b;
    y[i * step + other] = sin[i] * a + cos[i] * b;
  }
  if (y != x) std::copy(x + 2 * shape.half, x + shape.size, y + 2 * shape.half);
}

}  // namespace onnxtool
