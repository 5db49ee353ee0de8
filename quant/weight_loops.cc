#include "quant/weight_loops.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "libopt/support/checked.h"

namespace onnxtool {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

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

// Loops of this fixed length become vector code at -O2; ends of runs are coded one by one.
constexpr size_t kBatch = 16;

/// Codes as the low bits of T, in the order of the weights.
template <class T>
void encode_run(const float* x, T* q, int64_t n, const WeightCoder& coder) {
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
void encode_all(std::span<const float> w, const WeightShape& s, std::span<const WeightCoder> coders,
                T* q) {
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
      return static_cast<int32_t>(nearest_integer(y)) + zero[c];
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

}  // namespace

Result<WeightShape> shape_along(size_t size, std::span<const int64_t> dims,
                                std::optional<int64_t> axis) {
  const auto count = checked_product(dims);
  ONNXTOOL_CHECK(count && static_cast<size_t>(*count) == size);
  if (!axis) return WeightShape{1, 1, *count};
  const auto rank = static_cast<int64_t>(dims.size());
  const int64_t a = *axis < 0 ? *axis + rank : *axis;
  if (a < 0 || a >= rank)
    return Error{
        ErrorCode::kMismatch,
        "axis is " + std::to_string(*axis) + ", but the weight has rank " + std::to_string(rank),
        {}};
  WeightShape s;
  s.channels = dims[static_cast<size_t>(a)];
  for (int64_t d = 0; d < rank; ++d)
    if (d != a) (d < a ? s.outer : s.inner) *= dims[static_cast<size_t>(d)];
  return s;
}

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

WeightExtrema extrema_of(std::span<const float> w, const WeightShape& s) {
  WeightExtrema e{std::vector<float>(static_cast<size_t>(s.channels), kInfinity),
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

void encode(std::span<const float> weights, const WeightShape& shape,
            std::span<const WeightCoder> coders, uint8_t* codes) {
  encode_all(weights, shape, coders, codes);
}
void encode(std::span<const float> weights, const WeightShape& shape,
            std::span<const WeightCoder> coders, uint16_t* codes) {
  encode_all(weights, shape, coders, codes);
}

double squared_error(std::span<const float> x, const WeightCoder& coder) {
  double sum = 0;
  size_t i = 0;
  for (; i + kBatch <= x.size(); i += kBatch) {
    float part[4] = {};
    for (size_t k = 0; k < kBatch; k += 4) {
      for (size_t j = 0; j < 4; ++j) {
        float y = x[i + k + j] / coder.scale;
        y = y < coder.low ? coder.low : y;
        y = y > coder.high ? coder.high : y;
        const float e = nearest_integer(y) * coder.scale - x[i + k + j];
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

}  // namespace onnxtool
