// Quantization arithmetic. Weights are visited as [outer, channels, inner] in memory order.

#include "quant/params.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "libopt/ir/code_type.h"
#include "libopt/support/checked.h"
#include "quant/float8.h"

namespace onnxtool {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr double kSmallestScale = std::numeric_limits<float>::min();

/// Nearest integer, ties to even, for |x| <= 2^22, in vectors of any width.
float nearest(float x) {
  constexpr float kShift = 0x1.8p23f;
  return (x + kShift) - kShift;
}

/// The codes of one scale and zero point; clipping before rounding gives the same integers.
struct Coder {
  float scale;
  int32_t zero_point;
  float low, high;  // limits of the rounded quotient

  Coder(QuantParams p, const QuantScheme& s)
      : scale(p.scale),
        zero_point(p.zero_point),
        low(static_cast<float>(s.clip_min - p.zero_point)),
        high(static_cast<float>(s.clip_max - p.zero_point)) {}
  /// x must not be NaN.
  int32_t operator()(float x) const {
    float y = x / scale;
    y = y < low ? low : y;
    y = y > high ? high : y;
    return static_cast<int32_t>(nearest(y)) + zero_point;
  }
};

/// Extent of the axis, and the products of the extents on both sides of it.
struct Shape {
  int64_t outer = 1, channels = 1, inner = 1;
};

Result<Shape> shape_of(size_t size, std::span<const int64_t> dims, std::optional<int64_t> axis) {
  const auto count = checked_product(dims);
  ONNXTOOL_CHECK(count && static_cast<size_t>(*count) == size);
  if (!axis) return Shape{1, 1, *count};
  const auto rank = static_cast<int64_t>(dims.size());
  const int64_t a = *axis < 0 ? *axis + rank : *axis;
  if (a < 0 || a >= rank)
    return Error{
        ErrorCode::kMismatch,
        "axis is " + std::to_string(*axis) + ", but the weight has rank " + std::to_string(rank),
        {}};
  Shape s;
  s.channels = dims[static_cast<size_t>(a)];
  for (int64_t d = 0; d < rank; ++d)
    if (d != a) (d < a ? s.outer : s.inner) *= dims[static_cast<size_t>(d)];
  return s;
}

constexpr int kLanes = 4;
using Floats = float __attribute__((vector_size(4 * kLanes)));

/// Extends [low, high] by n contiguous values, skipping NaN.
void extend(float& low, float& high, const float* x, int64_t n) {
  int64_t i = 0;
  if (n >= 4 * kLanes) {
    Floats l0 = Floats{} + low, l1 = l0, h0 = Floats{} + high, h1 = h0;
    for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
      Floats a, b;
      std::memcpy(&a, x + i, sizeof a);
      std::memcpy(&b, x + i + kLanes, sizeof b);
      l0 = a < l0 ? a : l0;
      h0 = a > h0 ? a : h0;
      l1 = b < l1 ? b : l1;
      h1 = b > h1 ? b : h1;
    }
    for (int k = 0; k < kLanes; ++k) {
      low = std::min({low, l0[k], l1[k]});
      high = std::max({high, h0[k], h1[k]});
    }
  }
  for (; i < n; ++i) {
    if (x[i] < low) low = x[i];
    if (x[i] > high) high = x[i];
  }
}

/// Extends the i-th of n ranges by the i-th value.
void extend_each(float* low, float* high, const float* x, size_t n) {
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    Floats v, l, h;
    std::memcpy(&v, x + i, sizeof v);
    std::memcpy(&l, low + i, sizeof l);
    std::memcpy(&h, high + i, sizeof h);
    l = v < l ? v : l;
    h = v > h ? v : h;
    std::memcpy(low + i, &l, sizeof l);
    std::memcpy(high + i, &h, sizeof h);
  }
  for (; i < n; ++i) {
    if (x[i] < low[i]) low[i] = x[i];
    if (x[i] > high[i]) high[i] = x[i];
  }
}

struct Extrema {
  std::vector<float> low, high;  // per channel; {+inf, -inf} of nothing
};

Extrema extrema_of(std::span<const float> w, const Shape& s) {
  Extrema e{std::vector<float>(static_cast<size_t>(s.channels), kInfinity),
            std::vector<float>(static_cast<size_t>(s.channels), -kInfinity)};
  const float* x = w.data();
  for (int64_t o = 0; o < s.outer; ++o) {
    if (s.inner == 1) {
      extend_each(e.low.data(), e.high.data(), x, static_cast<size_t>(s.channels));
      x += s.channels;
    } else {
      for (size_t c = 0; c < static_cast<size_t>(s.channels); ++c, x += s.inner)
        extend(e.low[c], e.high[c], x, s.inner);
    }
  }
  return e;
}

Status all_finite(std::span<const float> w) {
  // x - x is 0 for finite x and NaN otherwise, and NaN stays in a sum.
  Floats sum{};
  size_t i = 0;
  for (; i + kLanes <= w.size(); i += kLanes) {
    Floats v;
    std::memcpy(&v, w.data() + i, sizeof v);
    sum += v - v;
  }
  float total = sum[0] + sum[1] + sum[2] + sum[3];
  for (; i < w.size(); ++i) total += w[i] - w[i];
  if (total == 0) return {};
  for (i = 0; i < w.size(); ++i)
    if (!std::isfinite(w[i]))
      return Error{ErrorCode::kNotFinite,
                   "weight " + std::to_string(i) + " is " +
                       (std::isnan(w[i]) ? "NaN"
                        : w[i] > 0       ? "infinity"
                                         : "-infinity") +
                       ", expected a finite value",
                   {}};
  return {};
}

// Loops of this fixed length become vector code at -O2; ends of runs are coded one by one.
constexpr size_t kBatch = 16;

/// Codes as the low bits of T, in the order of the weights.
template <class T>
void encode_run(const float* x, T* q, int64_t n, const Coder& coder) {
  const auto count = static_cast<size_t>(n);
  size_t i = 0;
  for (; i + kBatch <= count; i += kBatch) {
    int32_t codes[kBatch];
    for (size_t k = 0; k < kBatch; ++k) codes[k] = coder(x[i + k]);
    for (size_t k = 0; k < kBatch; ++k) q[i + k] = static_cast<T>(codes[k]);
  }
  for (; i < count; ++i) q[i] = static_cast<T>(coder(x[i]));
}

template <class T>
void encode(std::span<const float> w, const Shape& s, std::span<const Coder> coders, T* q) {
  const float* x = w.data();
  if (s.inner == 1 && s.channels > 1) {
    // Channels vary fastest: their parameters as arrays, so that the loop over channels is a plain
    // one.
    const auto channels = static_cast<size_t>(s.channels);
    std::vector<float> scale(channels), low(channels), high(channels);
    std::vector<int32_t> zero(channels);
    for (size_t c = 0; c < channels; ++c) {
      scale[c] = coders[c].scale;
      low[c] = coders[c].low;
      high[c] = coders[c].high;
      zero[c] = coders[c].zero_point;
    }
    const auto code = [&](size_t c, float value) {
      float y = value / scale[c];
      y = y < low[c] ? low[c] : y;
      y = y > high[c] ? high[c] : y;
      return static_cast<int32_t>(nearest(y)) + zero[c];
    };
    for (int64_t o = 0; o < s.outer; ++o, x += channels, q += channels) {
      size_t c = 0;
      for (; c + kBatch <= channels; c += kBatch) {
        int32_t codes[kBatch];
        for (size_t k = 0; k < kBatch; ++k) codes[k] = code(c + k, x[c + k]);
        for (size_t k = 0; k < kBatch; ++k) q[c + k] = static_cast<T>(codes[k]);
      }
      for (; c < channels; ++c) q[c] = static_cast<T>(code(c, x[c]));
    }
    return;
  }
  for (int64_t o = 0; o < s.outer; ++o)
    for (int64_t c = 0; c < s.channels; ++c, x += s.inner, q += s.inner)
      encode_run(x, q, s.inner, coders[static_cast<size_t>(c)]);
}

/// Runs `fill(pointer to uint8_t or uint16_t codes)` and packs what it left.
template <class Fill>
std::vector<uint8_t> packed(DataType type, size_t count, Fill&& fill) {
  std::vector<uint8_t> bytes(size_bytes_of(type, count));
  const int bits = bits_of(type);
  if (bits == 8) {
    fill(bytes.data());
  } else if (bits == 16) {
    static_assert(std::endian::native == std::endian::little, "raw_data is little-endian");
    fill(reinterpret_cast<uint16_t*>(bytes.data()));
  } else {
    std::vector<uint8_t> codes(count);
    fill(codes.data());
    const size_t per_byte = static_cast<size_t>(8 / bits);
    const unsigned mask = (1u << bits) - 1;
    for (size_t i = 0; i < count; ++i)
      bytes[i / per_byte] = static_cast<uint8_t>(
          bytes[i / per_byte] | (codes[i] & mask) << (i % per_byte * static_cast<size_t>(bits)));
  }
  return bytes;
}

int32_t code_at(const QuantizedWeights& w, size_t i) {
  const int bits = bits_of(w.type);
  uint32_t code;
  if (bits == 16) {
    code = static_cast<uint32_t>(w.bytes[2 * i]) | static_cast<uint32_t>(w.bytes[2 * i + 1]) << 8;
  } else {
    const size_t per_byte = static_cast<size_t>(8 / bits);
    code = w.bytes[i / per_byte] >> (i % per_byte * static_cast<size_t>(bits)) & ((1u << bits) - 1);
  }
  if (!is_signed(w.type)) return static_cast<int32_t>(code);
  const int unused = 32 - bits;
  return static_cast<int32_t>(code << unused) >> unused;
}

/// The scheme of weights. Where the range is narrowed on purpose (no -128, or reduced against
/// saturating pair sums) values are kept inside it too; onnxruntime's saturate at the type.
QuantScheme weight_scheme(const WeightOptions& o) {
  QuantScheme s = scheme_of(o.type, o.symmetric, o.reduced, o.ort_compat);
  if (!o.ort_compat) {
    s.clip_min = s.qmin;
    s.clip_max = s.qmax;
  }
  return s;
}

Result<QuantParams> params_of_extrema(float low, float high, const QuantScheme& scheme) {
  if (low > high) return QuantParams{};  // nothing there
  return compute({static_cast<double>(low), static_cast<double>(high)}, scheme);
}

double squared_error(std::span<const float> x, const Coder& coder) {
  double sum = 0;
  size_t i = 0;
  for (; i + kBatch <= x.size(); i += kBatch) {
    float part[4] = {};
    for (size_t k = 0; k < kBatch; k += 4) {
      for (size_t j = 0; j < 4; ++j) {
        float y = x[i + k + j] / coder.scale;
        y = y < coder.low ? coder.low : y;
        y = y > coder.high ? coder.high : y;
        const float e = nearest(y) * coder.scale - x[i + k + j];
        part[j] += e * e;
      }
    }
    sum += static_cast<double>((part[0] + part[1]) + (part[2] + part[3]));
  }
  for (; i < x.size(); ++i) {
    const auto e = static_cast<double>(
        static_cast<float>(coder(x[i]) - coder.zero_point) * coder.scale - x[i]);
    sum += e * e;
  }
  return sum;
}

// Factors of the range that mse_clip tries: a ladder, then steps around the best of it.
constexpr double kClipFactors[] = {1.0, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4};
constexpr double kClipSteps[] = {0.025, 0.0125, 0.00625};

Result<QuantParams> clipped_params(std::span<const float> values, float low, float high,
                                   const QuantScheme& scheme) {
  ONNXTOOL_ASSIGN(const QuantParams whole, params_of_extrema(low, high, scheme));
  QuantParams best = whole;
  double least = squared_error(values, Coder(whole, scheme)), best_factor = 1;
  const auto consider = [&](double factor) {
    const auto p = compute({factor * low, factor * high}, scheme);
    if (!p.ok()) return;
    if (const double error = squared_error(values, Coder(*p, scheme)); error < least) {
      least = error;
      best = *p;
      best_factor = factor;
    }
  };
  for (double f : kClipFactors)
    if (f != 1) consider(f);
  for (double step : kClipSteps) {
    const double around = best_factor;
    for (double f : {around - step, around + step})
      if (f < 1) consider(f);
  }
  return best;
}

/// Calls body(channel, its values) for each channel, gathered where they are not contiguous.
template <class Body>
Status for_channels(std::span<const float> w, const Shape& s, Body&& body) {
  if (s.outer == 1) {
    for (int64_t c = 0; c < s.channels; ++c)
      ONNXTOOL_TRY(body(static_cast<size_t>(c),
                        w.subspan(static_cast<size_t>(c * s.inner), static_cast<size_t>(s.inner))));
    return {};
  }
  // Several channels a sweep, so that a cache line is used whole.
  constexpr int64_t kTogether = 16;
  const int64_t per_channel = s.outer * s.inner;
  std::vector<float> gathered(static_cast<size_t>(kTogether * per_channel));
  for (int64_t first = 0; first < s.channels; first += kTogether) {
    const int64_t n = std::min(kTogether, s.channels - first);
    for (int64_t o = 0; o < s.outer; ++o)
      for (int64_t c = 0; c < n; ++c)
        for (int64_t i = 0; i < s.inner; ++i)
          gathered[static_cast<size_t>(c * per_channel + o * s.inner + i)] =
              w[static_cast<size_t>((o * s.channels + first + c) * s.inner + i)];
    for (int64_t c = 0; c < n; ++c)
      ONNXTOOL_TRY(body(static_cast<size_t>(first + c), std::span<const float>(gathered).subspan(
                                                            static_cast<size_t>(c * per_channel),
                                                            static_cast<size_t>(per_channel))));
  }
  return {};
}

QuantizedWeights encoded(std::span<const float> w, const Shape& s, std::optional<int64_t> axis,
                         const WeightOptions& options, std::vector<QuantParams> params) {
  const QuantScheme scheme = weight_scheme(options);
  QuantizedWeights q;
  q.type = options.type;
  q.axis = axis;
  for (const QuantParams& p : params) {
    q.scales.push_back(p.scale);
    q.zero_points.push_back(p.zero_point);
  }
  if (scheme.is_float8()) {
    q.bytes.reserve(w.size());
    for (size_t i = 0; i < w.size(); ++i) {
      const size_t c = i / static_cast<size_t>(s.inner) % static_cast<size_t>(s.channels);
      q.bytes.push_back(encode_float8(w[i], q.scales[c], scheme));
    }
    return q;
  }
  std::vector<Coder> coders;
  coders.reserve(params.size());
  for (const QuantParams& p : params) coders.emplace_back(p, scheme);
  q.bytes = packed(options.type, w.size(),
                   [&](auto* codes) { encode(w, s, std::span<const Coder>(coders), codes); });
  return q;
}

}  // namespace

bool is_quantized_integer(DataType type) {
  switch (type) {
    case DataType::kInt8:
    case DataType::kUint8:
    case DataType::kInt16:
    case DataType::kUint16:
    case DataType::kInt4:
    case DataType::kUint4:
    case DataType::kInt2:
    case DataType::kUint2: return true;
    default: return false;
  }
}

QuantScheme scheme_of(DataType type, bool symmetric, bool reduced, bool ort_compat) {
  if (is_quantized_float(type)) return float8_scheme(type);
  ONNXTOOL_CHECK(is_quantized_integer(type));
  const int bits = bits_of(type);
  QuantScheme s;
  s.symmetric = symmetric;
  s.clip_min = is_signed(type) ? -(1 << (bits - 1)) : 0;
  s.clip_max = is_signed(type) ? (1 << (bits - 1)) - 1 : (1 << bits) - 1;
  s.qmin = s.clip_min;
  s.qmax = s.clip_max;
  if (reduced) {
    // -64..64 and -16384..16384, but -4..3: as onnxruntime has them.
    s.qmin = s.clip_min / 2;
    s.qmax = is_signed(type) && bits >= 8 ? -s.qmin : s.clip_max / 2;
  } else if (symmetric && is_signed(type) && (bits >= 8 || !ort_compat)) {
    s.qmin = -s.qmax;
  }
  return s;
}

Result<QuantParams> compute(Range range, const QuantScheme& scheme, double min_real_range) {
  if (!std::isfinite(range.min) || !std::isfinite(range.max))
    return Error{ErrorCode::kNotFinite,
                 "range [" + std::to_string(range.min) + ", " + std::to_string(range.max) +
                     "] is not finite",
                 {}};
  Range r{std::min(range.min, 0.0), std::max(range.max, 0.0)};
  if (min_real_range > 0) r.max = std::max(r.max, r.min + min_real_range);
  const Grid grid = grid_of(r, scheme);
  const auto scale = static_cast<float>(grid.scale);
  if (!std::isfinite(scale))
    return Error{ErrorCode::kNotFinite,
                 "range [" + std::to_string(r.min) + ", " + std::to_string(r.max) +
                     "] needs a scale beyond float",
                 {}};
  return QuantParams{scale, grid.zero_point};
}

int32_t quantize_value(float x, QuantParams params, const QuantScheme& scheme) {
  if (std::isnan(x)) return params.zero_point;
  if (scheme.is_float8()) return encode_float8(x, params.scale, scheme);
  return Coder(params, scheme)(x);
}

Range representable(QuantParams params, const QuantScheme& scheme) {
  const auto scale = static_cast<double>(params.scale);
  return {(scheme.clip_min - params.zero_point) * scale,
          (scheme.clip_max - params.zero_point) * scale};
}

Result<QuantizedWeights> quantize_weights(std::span<const float> weights,
                                          std::span<const int64_t> dims,
                                          std::optional<int64_t> axis,
                                          const WeightOptions& options) {
  ONNXTOOL_ASSIGN(const Shape shape, shape_of(weights.size(), dims, axis));
  ONNXTOOL_TRY(all_finite(weights));
  if (axis && *axis < 0) *axis += static_cast<int64_t>(dims.size());
  const QuantScheme scheme = weight_scheme(options);
  const Extrema e = extrema_of(weights, shape);
  std::vector<QuantParams> params(e.low.size());
  if ((options.mse_clip || scheme.is_float8()) && !weights.empty()) {
    ONNXTOOL_TRY(
        for_channels(weights, shape, [&](size_t c, std::span<const float> values) -> Status {
          if (scheme.is_float8()) {
            const float absmax = std::max(e.high[c], -e.low[c]);
            ONNXTOOL_ASSIGN(params[c].scale, scale_of_float8(values, absmax, scheme));
            return {};
          }
          ONNXTOOL_ASSIGN(params[c], clipped_params(values, e.low[c], e.high[c], scheme));
          return {};
        }));
  } else {
    for (size_t c = 0; c < params.size(); ++c) {
      ONNXTOOL_ASSIGN(params[c], params_of_extrema(e.low[c], e.high[c], scheme));
    }
  }
  return encoded(weights, shape, axis, options, std::move(params));
}

Result<QuantizedWeights> quantize_weights_with(std::span<const float> weights,
                                               std::span<const int64_t> dims,
                                               std::optional<int64_t> axis,
                                               const WeightOptions& options,
                                               std::span<const float> scales,
                                               std::span<const int32_t> zero_points) {
  ONNXTOOL_ASSIGN(const Shape shape, shape_of(weights.size(), dims, axis));
  ONNXTOOL_TRY(all_finite(weights));
  if (axis && *axis < 0) *axis += static_cast<int64_t>(dims.size());
  ONNXTOOL_CHECK(scales.size() == static_cast<size_t>(shape.channels) &&
                 zero_points.size() == scales.size());
  std::vector<QuantParams> params;
  for (size_t c = 0; c < scales.size(); ++c) params.push_back({scales[c], zero_points[c]});
  return encoded(weights, shape, axis, options, std::move(params));
}

Result<QuantizedWeights> quantize_weights_blocked(std::span<const float> weights,
                                                  std::span<const int64_t> dims, int64_t axis,
                                                  int64_t block, const WeightOptions& options) {
  ONNXTOOL_CHECK(block > 0);
  ONNXTOOL_ASSIGN(const Shape shape, shape_of(weights.size(), dims, axis));
  ONNXTOOL_TRY(all_finite(weights));
  if (axis < 0) axis += static_cast<int64_t>(dims.size());
  const QuantScheme scheme = weight_scheme(options);
  QuantizedWeights q;
  q.type = options.type;
  q.axis = axis;
  q.block = block;
  const auto inner = static_cast<size_t>(shape.inner);
  const int64_t blocks = (shape.channels + block - 1) / block;
  std::vector<Coder> coders;
  coders.reserve(inner);
  std::vector<float> low(inner), high(inner), values;
  // One row of blocks at a time: [outer, block, inner], every inner element has its own parameters.
  Status status;
  q.bytes = packed(options.type, weights.size(), [&](auto* codes) {
    for (int64_t o = 0; o < shape.outer; ++o) {
      for (int64_t b = 0; b < blocks && status.ok(); ++b) {
        const int64_t first = b * block, rows = std::min(block, shape.channels - first);
        const size_t offset = static_cast<size_t>(o * shape.channels + first) * inner;
        const float* x = weights.data() + offset;
        std::fill(low.begin(), low.end(), kInfinity);
        std::fill(high.begin(), high.end(), -kInfinity);
        for (int64_t r = 0; r < rows; ++r)
          extend_each(low.data(), high.data(), x + static_cast<size_t>(r) * inner, inner);
        coders.clear();
        for (size_t i = 0; i < inner; ++i) {
          Result<QuantParams> p = QuantParams{};
          if (options.mse_clip) {
            values.clear();
            for (int64_t r = 0; r < rows; ++r)
              values.push_back(x[static_cast<size_t>(r) * inner + i]);
            p = clipped_params(values, low[i], high[i], scheme);
          } else {
            p = params_of_extrema(low[i], high[i], scheme);
          }
          if (!p.ok()) {
            status = std::move(p).error();
            return;
          }
          q.scales.push_back(p->scale);
          q.zero_points.push_back(p->zero_point);
          coders.emplace_back(*p, scheme);
        }
        encode(std::span<const float>(x, static_cast<size_t>(rows) * inner),
               Shape{rows, shape.inner, 1}, std::span<const Coder>(coders), codes + offset);
      }
    }
  });
  ONNXTOOL_TRY(std::move(status));
  return q;
}

std::vector<float> dequantize_weights(const QuantizedWeights& weights,
                                      std::span<const int64_t> dims) {
  const auto count = checked_product(dims);
  ONNXTOOL_CHECK(count && weights.bytes.size() ==
                              size_bytes_of(weights.type, static_cast<uint64_t>(*count)));
  const auto shape = shape_of(static_cast<size_t>(*count), dims, weights.axis);
  ONNXTOOL_CHECK(shape.ok());
  const int64_t block = weights.block ? weights.block : 1;
  const int64_t blocks = (shape->channels + block - 1) / block;
  std::vector<float> values(static_cast<size_t>(*count));
  size_t at = 0;
  for (int64_t o = 0; o < shape->outer; ++o)
    for (int64_t c = 0; c < shape->channels; ++c)
      for (int64_t i = 0; i < shape->inner; ++i, ++at) {
        const auto p =
            static_cast<size_t>(!weights.axis   ? 0
                                : weights.block ? (o * blocks + c / block) * shape->inner + i
                                                : c);
        values[at] = is_quantized_float(weights.type)
                         ? decode_float8(weights.bytes[at], weights.scales[p], weights.type)
                         : dequantize_value(code_at(weights, at),
                                            {weights.scales[p], weights.zero_points[p]});
      }
  return values;
}

namespace {

/// The weight scale for which the bias fits, or the given one.
float raised_scale(double absmax, float activation_scale, float weight_scale,
                   const WeightOptions& options, bool zero_points) {
  const auto act = static_cast<double>(activation_scale),
             weight = static_cast<double>(weight_scale);
  if (options.ort_compat) {
    // Of signed symmetric 8- and 16-bit weights only. Source: its
    // _adjust_weight_scale_for_int32_bias.
    if ((options.type != DataType::kInt8 && options.type != DataType::kInt16) || zero_points)
      return weight_scale;
    constexpr double kMargin = 1.0001, kIntegers = 4294967294.0;
    const double smallest = kMargin * (2 * absmax) / kIntegers, candidate = act * weight;
    return candidate < smallest && candidate > 0
               ? static_cast<float>(weight * (smallest / candidate))
               : weight_scale;
  }
  const auto fits = [&](float scale) {
    const auto product = static_cast<double>(activation_scale * scale);
    return product >= kSmallestScale && absmax <= product * static_cast<double>(kBiasLimit);
  };
  if (fits(weight_scale)) return weight_scale;
  const double needed =
      std::max(absmax / (act * static_cast<double>(kBiasLimit)), kSmallestScale / act);
  auto scale = static_cast<float>(std::max(needed, weight));
  while (!fits(scale) && std::isfinite(scale))
    scale = std::nextafter(scale, kInfinity);  // a rounding or two
  return scale;
}

}  // namespace

Result<QuantizedBias> quantize_bias(std::span<const float> bias, float activation_scale,
                                    QuantizedWeights& quantized, std::span<const float> weights,
                                    std::span<const int64_t> dims, const WeightOptions& options) {
  const size_t channels = quantized.scales.size();
  ONNXTOOL_CHECK(quantized.block == 0 && (channels == 1 || channels == bias.size()) &&
                 activation_scale > 0);
  for (size_t i = 0; i < bias.size(); ++i)
    if (!std::isfinite(bias[i]))
      return Error{ErrorCode::kNotFinite, "bias " + std::to_string(i) + " is not finite", {}};
  const bool zero_points = std::any_of(quantized.zero_points.begin(), quantized.zero_points.end(),
                                       [](int32_t z) { return z != 0; });
  QuantizedBias result;
  std::vector<float> scales = quantized.scales;
  for (size_t c = 0; c < channels; ++c) {
    double absmax = 0;
    if (channels == bias.size()) {
      absmax = std::fabs(static_cast<double>(bias[c]));
    } else {
      for (float b : bias) absmax = std::max(absmax, std::fabs(static_cast<double>(b)));
    }
    scales[c] = raised_scale(absmax, activation_scale, scales[c], options, zero_points);
    if (!std::isfinite(scales[c]))
      return Error{ErrorCode::kNotFinite,
                   "bias of channel " + std::to_string(c) + " needs a weight scale beyond float",
                   {}};
    if (scales[c] != quantized.scales[c]) result.raised.push_back(static_cast<int64_t>(c));
  }
  if (!result.raised.empty()) {
    const std::vector<int32_t> zeros = quantized.zero_points;
    ONNXTOOL_ASSIGN(quantized,
                    quantize_weights_with(weights, dims, quantized.axis, options, scales, zeros));
  }
  for (float s : scales) result.scales.push_back(activation_scale * s);
  result.values.reserve(bias.size());
  for (size_t i = 0; i < bias.size(); ++i) {
    const auto scale = static_cast<double>(result.scales[channels == 1 ? 0 : i]);
    // Zero over a scale that underflowed (possible in ort_compat only) is NaN: a zero bias stays
    // zero.
    const double q = bias[i] == 0 ? 0 : std::nearbyint(static_cast<double>(bias[i]) / scale);
    constexpr double kLow = std::numeric_limits<int32_t>::min(),
                     kHigh = std::numeric_limits<int32_t>::max();
    result.values.push_back(static_cast<int32_t>(std::clamp(q, kLow, kHigh)));
  }
  return result;
}

}  // namespace onnxtool
