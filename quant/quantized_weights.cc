// Weights as integers: one scale for all, one a channel, or one a block.

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <utility>

#include "libopt/ir/code_type.h"
#include "libopt/support/checked.h"
#include "quant/float8.h"
#include "quant/pair_limit.h"
#include "quant/params.h"
#include "quant/weight_loops.h"

namespace onnxtool {
namespace {

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

// Factors of the range that mse_clip tries: a ladder, then steps around the best of it.
constexpr double kClipFactors[] = {1.0, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4};
constexpr double kClipSteps[] = {0.025, 0.0125, 0.00625};

Result<QuantParams> clipped_params(std::span<const float> values, float low, float high,
                                   const QuantScheme& scheme) {
  ONNXTOOL_ASSIGN(const QuantParams whole, params_of_extrema(low, high, scheme));
  QuantParams best = whole;
  double least = squared_error(values, WeightCoder(whole, scheme)), best_factor = 1;
  const auto consider = [&](double factor) {
    const auto p = compute({factor * low, factor * high}, scheme);
    if (!p.ok()) return;
    if (const double error = squared_error(values, WeightCoder(*p, scheme)); error < least) {
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
Status for_channels(std::span<const float> w, const WeightShape& s, Body&& body) {
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

QuantizedWeights encoded(std::span<const float> w, const WeightShape& s,
                         std::optional<int64_t> axis, const WeightOptions& options,
                         std::vector<QuantParams> params) {
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
  std::vector<WeightCoder> coders;
  coders.reserve(params.size());
  for (const QuantParams& p : params) coders.emplace_back(p, scheme);
  q.bytes = packed(options.type, w.size(),
                   [&](auto* codes) { encode(w, s, std::span<const WeightCoder>(coders), codes); });
  if (options.pairs)
    limit_pairs(w, s, *options.pairs, params,
                {reinterpret_cast<int8_t*>(q.bytes.data()), q.bytes.size()});
  return q;
}

}  // namespace

Result<QuantizedWeights> quantize_weights(std::span<const float> weights,
                                          std::span<const int64_t> dims,
                                          std::optional<int64_t> axis,
                                          const WeightOptions& options) {
  ONNXTOOL_ASSIGN(const WeightShape shape, shape_along(weights.size(), dims, axis));
  ONNXTOOL_TRY(all_finite(weights));
  if (axis && *axis < 0) *axis += static_cast<int64_t>(dims.size());
  const QuantScheme scheme = weight_scheme(options);
  const WeightExtrema e = extrema_of(weights, shape);
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
  int64_t limited = 0;
  if (options.pairs) {
    ONNXTOOL_CHECK(options.type == DataType::kInt8 && options.symmetric);
    limited = widen_for_pairs(weights, shape, *options.pairs, scheme, params);
  }
  QuantizedWeights q = encoded(weights, shape, axis, options, std::move(params));
  q.limited_channels = limited;
  return q;
}

Result<QuantizedWeights> quantize_weights_with(std::span<const float> weights,
                                               std::span<const int64_t> dims,
                                               std::optional<int64_t> axis,
                                               const WeightOptions& options,
                                               std::span<const float> scales,
                                               std::span<const int32_t> zero_points) {
  ONNXTOOL_ASSIGN(const WeightShape shape, shape_along(weights.size(), dims, axis));
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
  ONNXTOOL_ASSIGN(const WeightShape shape, shape_along(weights.size(), dims, axis));
  ONNXTOOL_TRY(all_finite(weights));
  if (axis < 0) axis += static_cast<int64_t>(dims.size());
  const QuantScheme scheme = weight_scheme(options);
  QuantizedWeights q;
  q.type = options.type;
  q.axis = axis;
  q.block = block;
  const auto inner = static_cast<size_t>(shape.inner);
  const int64_t blocks = (shape.channels + block - 1) / block;
  std::vector<WeightCoder> coders;
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
        std::fill(low.begin(), low.end(), std::numeric_limits<float>::infinity());
        std::fill(high.begin(), high.end(), -std::numeric_limits<float>::infinity());
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
               WeightShape{rows, shape.inner, 1}, std::span<const WeightCoder>(coders),
               codes + offset);
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
  const auto shape = shape_along(static_cast<size_t>(*count), dims, weights.axis);
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

}  // namespace onnxtool
