#include "quant/adaround_loops.h"

#include <cstring>

#include "quant/clones.h"

// Vectors are passed between inlined functions only, whose ABI does not matter.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace onnxtool {
namespace {

constexpr int64_t kLanes = 16;
using Floats = float __attribute__((vector_size(4 * kLanes)));
using Ints = int32_t __attribute__((vector_size(4 * kLanes)));

constexpr auto kMean = static_cast<float>(kMeanDecay), kSquare = static_cast<float>(kSquareDecay);
// The square of what Adam adds to the root.
constexpr float kSmall = 1e-16f;

ONNXTOOL_INSIDE Floats load(const float* p, int64_t n) {
  Floats v = {};
  if (n == kLanes)
    std::memcpy(&v, p, sizeof v);
  else
    std::memcpy(&v, p, static_cast<size_t>(n) * sizeof(float));
  return v;
}
ONNXTOOL_INSIDE void store(float* p, const Floats& v, int64_t n) {
  if (n == kLanes)
    std::memcpy(p, &v, sizeof v);
  else
    std::memcpy(p, &v, static_cast<size_t>(n) * sizeof(float));
}
ONNXTOOL_INSIDE int64_t lanes_at(int64_t i, int64_t n) { return n - i < kLanes ? n - i : kLanes; }

ONNXTOOL_INSIDE Ints bits_of(const Floats& v) {
  Ints b;
  std::memcpy(&b, &v, sizeof b);
  return b;
}
ONNXTOOL_INSIDE Floats floats_of(const Ints& b) {
  Floats v;
  std::memcpy(&v, &b, sizeof v);
  return v;
}

ONNXTOOL_INSIDE Floats stretched(const Floats& s) {
  const Floats zero = {}, one = zero + 1.0f, h = s * kRoundingStretch + kRoundingOffset;
  return h < zero ? zero : h > one ? one : h;
}

// The mantissa's logarithm is a polynomial through its values at [1, 2].
ONNXTOOL_INSIDE Floats log_of(const Floats& x) {
  const Ints bits = bits_of(x);
  const Floats m = floats_of((bits & 0x7fffff) | 0x3f800000);
  const Floats exponent = __builtin_convertvector((bits >> 23) - 127, Floats);
  const Floats log2 =
      exponent - 2.496846f + m * (4.028548f + m * (-2.081214f + m * (0.628874f - 0.079158f * m)));
  return 0.693147f * log2;
}

// 1 / sqrt(x) for normal x: Newton's iteration from a guess by the exponent, to some 1e-7.
ONNXTOOL_INSIDE Floats inverse_root(const Floats& x) {
  Floats r = floats_of(0x5f3759df - (bits_of(x) >> 1));
  for (int i = 0; i < 3; ++i) r *= 1.5f - 0.5f * x * r * r;
  return r;
}

}  // namespace

ONNXTOOL_CLONES void soft_errors(const float* weights, const float* floors, const float* up,
                                 float scale, float* errors, int64_t n) {
  for (int64_t i = 0; i < n; i += kLanes) {
    const int64_t k = lanes_at(i, n);
    store(errors + i,
          load(weights + i, k) - (load(floors + i, k) + stretched(load(up + i, k))) * scale, k);
  }
}

ONNXTOOL_CLONES void penalty_exponents(const float* up, float factor, float* out, int64_t n) {
  for (int64_t i = 0; i < n; i += kLanes) {
    const int64_t k = lanes_at(i, n);
    const Floats d = 2.0f * stretched(load(up + i, k)) - 1.0f;
    store(out + i, factor * log_of(floats_of(bits_of(d) & 0x7fffffff)), k);
  }
}

ONNXTOOL_CLONES void adam_step(const AdamStep& step, const float* up, const float* slopes,
                               const float* powers, float* v, float* mean, float* square,
                               int64_t n) {
  const Floats zero = {}, one = zero + 1.0f;
  for (int64_t i = 0; i < n; i += kLanes) {
    const int64_t k = lanes_at(i, n);
    const Floats s = load(up + i, k), h = stretched(s);
    Floats slope = step.slope * load(slopes + i, k);
    if (step.penalty > 0) {
      const Floats p = step.penalty * load(powers + i, k);
      slope -= h < 0.5f ? -p : p;
    }
    // Where the stretched sigmoid is cut there is none.
    slope = (h <= zero) | (h >= one) ? zero : slope;
    slope *= kRoundingStretch * s * (1.0f - s);
    const Floats m = kMean * load(mean + i, k) + (1 - kMean) * slope;
    const Floats q = kSquare * load(square + i, k) + (1 - kSquare) * slope * slope;
    store(mean + i, m, k);
    store(square + i, q, k);
    store(v + i, load(v + i, k) - step.rate * m * inverse_root(q * step.square_gain + kSmall), k);
  }
}

ONNXTOOL_CLONES void add_multiple(float a, const float* x, float* y, int64_t n) {
  for (int64_t i = 0; i < n; i += kLanes) {
    const int64_t k = lanes_at(i, n);
    store(y + i, load(y + i, k) + a * load(x + i, k), k);
  }
}

}  // namespace onnxtool
