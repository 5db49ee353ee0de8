#include "quant/block_codes.h"

#include <cstring>
#include <span>

#include "quant/clones.h"

// Vectors are passed between inlined functions only, whose ABI does not matter.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace onnxtool {
namespace {

// Each lane is a block of its own, so results are equal on every machine.
constexpr int64_t kMost = 256;  // weights of a block
using Floats = float __attribute__((vector_size(4 * kBlockLanes)));
using Ints = int32_t __attribute__((vector_size(4 * kBlockLanes)));
using Bytes = uint8_t __attribute__((vector_size(kBlockLanes)));

// Adding and subtracting it rounds to the nearest integer, ties to even, below 2^22.
constexpr float kRound = 12582912.0f;
// Blocks of nothing larger are zeros: the reciprocal must be finite.
constexpr float kTiny = 1e-35f;

ONNXTOOL_INSIDE Floats load(const float* p) {
  Floats v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
ONNXTOOL_INSIDE void least(Floats& a, const Floats& b) { a = b < a ? b : a; }
ONNXTOOL_INSIDE void most(Floats& a, const Floats& b) { a = b > a ? b : a; }
ONNXTOOL_INSIDE Floats rounded(const Floats& v) { return (v + kRound) - kRound; }

struct Extent {
  Floats low = {}, high = {}, magnitude = {};
  Ints finite = {};
  Ints usable = {};  // finite, and not all zeros
};

ONNXTOOL_INSIDE void find_extent(const float (*x)[kBlockLanes], int64_t n, Extent& e) {
  Floats zero = {};
  for (int64_t i = 0; i < n; ++i) {
    const Floats v = load(x[i]);
    least(e.low, v);
    most(e.high, v);
    zero += v * 0.0f;  // NaN where v is none or infinite
  }
  e.magnitude = e.high;
  most(e.magnitude, -e.low);
  e.finite = zero == 0.0f;
  e.usable = e.finite & (e.magnitude >= kTiny);
}

// A grid on weights divided by the block's magnitude: codes less the zero point lie in [low, high].
struct Grid {
  Floats inverse;  // of its scale
  Floats low, high;
};

ONNXTOOL_INSIDE Floats on_grid(const Floats& x, const Grid& g) {
  Floats c = x * g.inverse;
  // Far outside rounding does not hold, but it is clipped anyway.
  most(c, g.low);
  least(c, g.high);
  return rounded(c);
}

// The best of some grids; their scale from a fit.
struct Best {
  Grid grid = {Floats{} + 1.0f, Floats{}, Floats{}};
  Floats zero_point = {};
  Floats gain = Floats{} - 1.0f;
};

// With the codes of a grid fixed, the best scale is products / squares, which leaves an error of
// |x|^2 - products^2 / squares. Lanes where `allowed` is 0 keep what they have.
ONNXTOOL_INSIDE void offer(const float (*x)[kBlockLanes], int64_t n, const Grid& g,
                           const Floats& zero_point, const Ints& allowed, Best& best) {
  Floats products = {}, squares = {};
  for (int64_t i = 0; i < n; ++i) {
    const Floats v = load(x[i]), c = on_grid(v, g);
    products += v * c;
    squares += c * c;
  }
  const Floats gain = products * products / squares;  // NaN where all codes are zero
  const Ints better = (gain > best.gain) & allowed;
  best.gain = better ? gain : best.gain;
  best.zero_point = better ? zero_point : best.zero_point;
  best.grid.inverse = better ? squares / products : best.grid.inverse;
  best.grid.low = better ? g.low : best.grid.low;
  best.grid.high = better ? g.high : best.grid.high;
}

// Codes that the largest weight falls on, in 16ths of the middle: more than that clips the block,
// less leaves outer codes unused. 4 bits only: with 8 no clipping ever wins much.
constexpr float kSymmetric[] = {16, 15, 14, 17, 18};
// Asymmetric grids as wide as the block, or so much of it; some with the zero point moved, which
// clips at one end only.
constexpr float kShrink[] = {1, 0.95f, 0.9f, 0.85f, 0.8f};
constexpr float kShifted[] = {1, 0.9f};

ONNXTOOL_INSIDE void symmetric(const float (*x)[kBlockLanes], int64_t n, const BlockFormat& f,
                               const Extent& e, Best& best) {
  const auto middle = static_cast<float>(f.middle());
  const Floats low = Floats{} - middle, high = Floats{} + (middle - 1), one = Floats{} + 1.0f;
  // Scaled to magnitude 1, the outermost weight is 1 or, where it may be mirrored, -1.
  const Floats sign = f.signed_scale ? (e.high > -e.low ? -one : one) : one;
  const float eight_bits[] = {16, 16 * (middle - 1) / middle};
  for (const float sixteenths : f.bits == 8 ? std::span<const float>(eight_bits) : kSymmetric)
    offer(x, n, {sign * (middle * sixteenths / 16), low, high}, Floats{} + middle, e.usable, best);
}

ONNXTOOL_INSIDE void asymmetric(const float (*x)[kBlockLanes], int64_t n, const BlockFormat& f,
                                const Extent& e, Best& best) {
  const auto top = static_cast<float>(f.levels() - 1);
  // Halves, which are exact: the whole may leave the range of float.
  const Floats width = (e.high * 0.5f - e.low * 0.5f) / e.magnitude * 2.0f;
  Floats zero = rounded(-e.low / e.magnitude / width * top);
  most(zero, Floats{});
  least(zero, Floats{} + top);
  for (const float shrink : std::span(kShrink).first(f.bits == 8 ? 1 : std::size(kShrink)))
    offer(x, n, {top / (width * shrink), -zero, top - zero}, zero, e.usable, best);
  if (f.bits == 8) return;
  for (const float shrink : kShifted)
    for (const float shift : {-1.0f, 1.0f}) {
      const Floats z = zero + shift;
      const Ints inside = (z >= 0.0f) & (z <= top);
      offer(x, n, {top / (width * shrink), -z, top - z}, z, e.usable & inside, best);
    }
}

// Noise and signal are those of the scaled weights.
ONNXTOOL_INSIDE void encode(const float (*x)[kBlockLanes], int64_t n, const Best& best,
                            const Floats& step, uint8_t (*codes)[kBlockLanes], Floats& noise,
                            Floats& signal) {
  const Ints zero_point = __builtin_convertvector(best.zero_point, Ints);
  for (int64_t i = 0; i < n; ++i) {
    const Floats v = load(x[i]), c = on_grid(v, best.grid), error = v - c * step;
    noise += error * error;
    signal += v * v;
    const Bytes b = __builtin_convertvector(__builtin_convertvector(c, Ints) + zero_point, Bytes);
    std::memcpy(codes[i], &b, sizeof b);
  }
}

}  // namespace

ONNXTOOL_CLONES void quantize_blocks(const float (*weights)[kBlockLanes], int64_t n,
                                     const BlockFormat& format, uint8_t (*codes)[kBlockLanes],
                                     BlockGrid* grids) {
  Extent e;
  find_extent(weights, n, e);
  const Floats one = Floats{} + 1.0f, divisor = e.usable ? e.magnitude : one;
  float scaled[kMost][kBlockLanes];
  for (int64_t i = 0; i < n; ++i) {
    const Floats v = e.usable ? load(weights[i]) / divisor : Floats{};
    std::memcpy(scaled[i], &v, sizeof v);
  }
  Best best;
  best.zero_point += format.symmetric ? static_cast<float>(format.middle()) : 0.0f;
  if (format.symmetric)
    symmetric(scaled, n, format, e, best);
  else
    asymmetric(scaled, n, format, e, best);
  Floats step = one / best.grid.inverse;
  // What the outermost code stands for must be a float, too.
  const Floats limit = kLargestDecoded / divisor /
                       (-best.grid.low > best.grid.high ? -best.grid.low : best.grid.high);
  step = step > limit ? limit : step;
  step = step < -limit ? -limit : step;
  Floats noise = {}, signal = {};
  encode(scaled, n, best, step, codes, noise, signal);
  for (int j = 0; j < kBlockLanes; ++j) {
    const double square = static_cast<double>(divisor[j]) * divisor[j];
    grids[j] = {.scale = divisor[j] * step[j],
                .zero_point = static_cast<int>(best.zero_point[j]),
                .noise = noise[j] * square,
                .signal = signal[j] * square,
                .finite = e.finite[j] != 0,
                .lost = !e.usable[j] && e.magnitude[j] > 0};
  }
}

}  // namespace onnxtool
