// The loops of weight quantization. Weights are visited as [outer, channels, inner] in memory
// order.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "quant/params.h"

namespace onnxtool {

/// Nearest integer, ties to even, for |x| <= 2^22, in vectors of any width.
inline float nearest_integer(float x) {
  constexpr float kShift = 0x1.8p23f;
  return (x + kShift) - kShift;
}

/// The codes of one scale and zero point; clipping before rounding gives the same integers.
struct WeightCoder {
  float scale;
  int32_t zero_point;
  float low, high;  // limits of the rounded quotient

  WeightCoder(QuantParams p, const QuantScheme& s)
      : scale(p.scale),
        zero_point(p.zero_point),
        low(static_cast<float>(s.clip_min - p.zero_point)),
        high(static_cast<float>(s.clip_max - p.zero_point)) {}
  /// x must not be NaN.
  int32_t operator()(float x) const {
    float y = x / scale;
    y = y < low ? low : y;
    y = y > high ? high : y;
    return static_cast<int32_t>(nearest_integer(y)) + zero_point;
  }
};

/// Extent of the axis, and the products of the extents on both sides of it.
struct WeightShape {
  int64_t outer = 1, channels = 1, inner = 1;
};

/// Errors: an axis outside the rank. nullopt: one channel.
Result<WeightShape> shape_along(size_t size, std::span<const int64_t> dims,
                                std::optional<int64_t> axis);

/// Extends the i-th of n ranges by the i-th value, skipping NaN.
void extend_each(float* low, float* high, const float* x, size_t n);

struct WeightExtrema {
  std::vector<float> low, high;  // per channel; {+inf, -inf} of nothing
};
WeightExtrema extrema_of(std::span<const float> weights, const WeightShape& shape);

/// Errors: NaN or an infinity, with its index.
Status all_finite(std::span<const float> weights);

/// Codes as the low bits of each, in the order of the weights; a coder for each channel.
void encode(std::span<const float> weights, const WeightShape& shape,
            std::span<const WeightCoder> coders, uint8_t* codes);
void encode(std::span<const float> weights, const WeightShape& shape,
            std::span<const WeightCoder> coders, uint16_t* codes);

/// The sum of squares of what coding is off.
double squared_error(std::span<const float> values, const WeightCoder& coder);

}  // namespace onnxtool
