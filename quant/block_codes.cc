#include "quant/block_codes.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>

// Vectors are passed between inlined functions only, whose ABI does not matter.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace onnxtool {
namespace {

// The same code for every instruction set: elements and the lanes of sums have the same order and
// rounding, so results are equal on every machine.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define ONNXTOOL_CLONES __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define ONNXTOOL_CLONES
#endif
#define ONNXTOOL_INSIDE __attribute__((always_inline)) inline

constexpr int64_t kLanes = 8;
using Floats = float __attribute__((vector_size(4 * kLanes)));

// Adding and subtracting it rounds to the nearest integer, ties to even, below 2^22.
constexpr float kRound = 12582912.0f;
// Blocks of nothing larger are zeros: the reciprocal must be finite.
constexpr float kTiny = 1e-35f;

ONNXTOOL_INSIDE Floats load(const float* p) {
  Floats v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
ONNXTOOL_INSIDE float sum(const Floats& v) {
  return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
}

struct Extent {
  float low = 0, high = 0;
  bool finite = true;
  float magnitude() const { return std::max(-low, high); }
};

ONNXTOOL_CLONES Extent extent_of(const float* x, int64_t n) {
  Floats low = {}, high = {}, zero = {};
  for (int64_t i = 0; i < n; i += kLanes) {
    const Floats v = load(x + i);
    low = v < low ? v : low;
    high = v > high ? v : high;
    zero += v * 0.0f;  // NaN where v is none or infinite
  }
  Extent e;
  for (int i = 0; i < kLanes; ++i) {
    e.low = std::min(e.low, low[i]);
    e.high = std::max(e.high, high[i]);
  }
  e.finite = sum(zero) == 0;
  return e;
}

ONNXTOOL_CLONES void scale_by(const float* x, int64_t n, float divisor, float* out) {
  for (int64_t i = 0; i < n; i += kLanes) {
    const Floats v = load(x + i) / divisor;
    std::memcpy(out + i, &v, sizeof v);
  }
}

// A grid on weights divided by the block's magnitude: codes less the zero point lie in [low, high].
struct Grid {
  float inverse;  // of its scale
  float low, high;
};

ONNXTOOL_INSIDE Floats on_grid(const Floats& x, const Floats& inverse, const Floats& low,
                               const Floats& high) {
  Floats c = x * inverse;
  // Far outside rounding does not hold, but it is clipped anyway.
  c = c < low ? low : c;
  c = c > high ? high : c;
  return (c + kRound) - kRound;
}

// With the codes of a grid fixed, the best scale is products / squares, which leaves an error of
// |x|^2 - products^2 / squares.
struct Fit {
  float products = 0, squares = 0;
  double gain() const {
    return squares > 0 ? static_cast<double>(products) * products / squares : 0;
  }
};

ONNXTOOL_CLONES Fit fit(const float* x, int64_t n, const Grid& g) {
  const Floats inverse = Floats{} + g.inverse, low = Floats{} + g.low, high = Floats{} + g.high;
  Floats products = {}, squares = {};
  for (int64_t i = 0; i < n; i += kLanes) {
    const Floats v = load(x + i), c = on_grid(v, inverse, low, high);
    products += v * c;
    squares += c * c;
  }
  return {sum(products), sum(squares)};
}

// Codes that the largest weight falls on, in 16ths of the middle: more than that clips the block,
// less leaves outer codes unused. 4 bits only: with 8 no clipping ever wins much.
constexpr float kSymmetric[] = {16, 15, 14, 17, 18};
// Asymmetric grids as wide as the block, or so much of it; some with the zero point moved, which
// clips at one end only.
constexpr float kShrink[] = {1, 0.95f, 0.9f, 0.85f, 0.8f};
constexpr float kShifted[] = {1, 0.9f};

// The best of some grids; their scale from a fit.
struct Best {
  Grid grid = {1, 0, 0};
  int zero_point = 0;
  double gain = -1;
  void offer(const float* x, int64_t n, const Grid& g, int zero) {
    const Fit f = fit(x, n, g);
    if (!(f.gain() > gain)) return;
    gain = f.gain();
    grid = {f.squares / f.products, g.low, g.high};
    zero_point = zero;
  }
};

Best symmetric(const float* x, int64_t n, const BlockFormat& f, bool mirrored) {
  const auto middle = static_cast<float>(f.middle());
  Best best;
  // Scaled to magnitude 1, the outermost weight is 1 or, where it may be mirrored, -1.
  const float sign = mirrored ? -1.0f : 1.0f;
  const auto offer = [&](float outermost) {
    best.offer(x, n, {sign * outermost, -middle, middle - 1}, f.middle());
  };
  if (f.bits == 8) {
    offer(middle);
    offer(middle - 1);
  } else {
    for (const float sixteenths : kSymmetric) offer(middle * sixteenths / 16);
  }
  return best;
}

Best asymmetric(const float* x, int64_t n, const BlockFormat& f, const Extent& e) {
  const float top = static_cast<float>(f.levels() - 1), width = (e.high - e.low) / e.magnitude();
  const float zero = std::clamp(std::nearbyint(-e.low / e.magnitude() / width * top), 0.0f, top);
  Best best;
  const auto offer = [&](float shrink, float z) {
    if (z < 0 || z > top) return;
    best.offer(x, n, {top / (width * shrink), -z, top - z}, static_cast<int>(z));
  };
  for (const float shrink : std::span(kShrink).first(f.bits == 8 ? 1 : std::size(kShrink)))
    offer(shrink, zero);
  if (f.bits == 8) return best;
  for (const float shrink : kShifted) {
    offer(shrink, zero - 1);
    offer(shrink, zero + 1);
  }
  return best;
}

// Noise and signal are those of the scaled weights.
ONNXTOOL_CLONES void encode(const float* x, int64_t n, const Best& best, float step, uint8_t* codes,
                            BlockGrid& out) {
  const Floats inverse = Floats{} + best.grid.inverse, low = Floats{} + best.grid.low,
               high = Floats{} + best.grid.high;
  using Ints = int32_t __attribute__((vector_size(4 * kLanes)));
  using Bytes = uint8_t __attribute__((vector_size(kLanes)));
  Floats noise = {}, signal = {};
  for (int64_t i = 0; i < n; i += kLanes) {
    const Floats v = load(x + i), c = on_grid(v, inverse, low, high), error = v - c * step;
    noise += error * error;
    signal += v * v;
    const Bytes b =
        __builtin_convertvector(__builtin_convertvector(c, Ints) + best.zero_point, Bytes);
    std::memcpy(codes + i, &b, sizeof b);
  }
  out.noise = sum(noise);
  out.signal = sum(signal);
}

}  // namespace

BlockGrid quantize_block(const float* weights, int64_t n, const BlockFormat& format,
                         uint8_t* codes) {
  const Extent e = extent_of(weights, n);
  BlockGrid out;
  out.zero_point = format.symmetric ? format.middle() : 0;
  out.finite = e.finite;
  if (!e.finite || e.magnitude() < kTiny) {
    std::memset(codes, out.zero_point, static_cast<size_t>(n));
    return out;
  }
  constexpr int64_t kMost = 256;
  float scaled[kMost];
  const float magnitude = e.magnitude();
  scale_by(weights, n, magnitude, scaled);
  const bool mirrored = format.signed_scale && e.high > -e.low;
  const Best best =
      format.symmetric ? symmetric(scaled, n, format, mirrored) : asymmetric(scaled, n, format, e);
  out.zero_point = best.zero_point;
  const float step = 1 / best.grid.inverse;
  encode(scaled, n, best, step, codes, out);
  const double square = static_cast<double>(magnitude) * magnitude;
  out.scale = magnitude * step;
  out.noise *= square;
  out.signal *= square;
  return out;
}

}  // namespace onnxtool
