#include "quant/float8.h"

#include <algorithm>
#include <cmath>

#include "calib/kernels/cpu/convert.h"
#include "calib/ranges/float8.h"

namespace onnxtool {
namespace {

// Steps grow with the values, so the error has a period of an octave but for what saturates and for
// what falls below the least normal value: both octaves around the widest range are tried.
constexpr int kStepsPerOctave = 16;

DataType type_of(const QuantScheme& scheme) {
  return scheme.mantissa_bits == 3 ? DataType::kFloat8E4M3FN : DataType::kFloat8E5M2;
}

double squared_error(std::span<const float> values, float scale, const QuantScheme& scheme) {
  const auto largest = static_cast<float>(scheme.qmax);
  const float inverse = 1 / scale;
  double sum = 0;
  constexpr size_t kBatch = 256;
  for (size_t i = 0; i < values.size(); i += kBatch) {
    float part = 0;
    for (size_t k = i; k < std::min(i + kBatch, values.size()); ++k) {
      const float y = std::clamp(values[k] * inverse, -largest, largest);
      const float e = nearest_float8(y, scheme) - y;
      // What was clipped is missed by more than rounding; both in steps of the scale.
      const float clipped = values[k] * inverse - y;
      part += (e - clipped) * (e - clipped);
    }
    sum += static_cast<double>(part);
  }
  return sum * static_cast<double>(scale) * static_cast<double>(scale);
}

}  // namespace

QuantScheme float8_scheme(DataType type) {
  ONNXTOOL_CHECK(is_quantized_float(type));
  const bool e4m3 = type == DataType::kFloat8E4M3FN;
  QuantScheme s;
  s.symmetric = true;
  s.qmax = s.clip_max = e4m3 ? 448 : 57344;
  s.qmin = s.clip_min = -s.qmax;
  s.mantissa_bits = e4m3 ? 3 : 2;
  s.min_exponent = e4m3 ? -6 : -14;
  return s;
}

Result<float> scale_of_float8(std::span<const float> values, float absmax,
                              const QuantScheme& scheme) {
  const double m = static_cast<double>(absmax);
  ONNXTOOL_ASSIGN(const QuantParams widest, compute({-m, m}, scheme));
  float best = widest.scale;
  if (m == 0) return best;
  double least = squared_error(values, best, scheme);
  for (int i = 1 - kStepsPerOctave; i < kStepsPerOctave; ++i) {
    const auto scale =
        widest.scale * static_cast<float>(std::exp2(static_cast<double>(i) / kStepsPerOctave));
    if (i == 0 || !std::isnormal(scale)) continue;
    if (const double error = squared_error(values, scale, scheme); error < least) {
      least = error;
      best = scale;
    }
  }
  return best;
}

uint8_t encode_float8(float x, float scale, const QuantScheme& scheme) {
  return encode_small_float(type_of(scheme), x / scale, /*saturate=*/true);
}

float decode_float8(uint8_t code, float scale, DataType type) {
  return decode_small_float(type, code) * scale;
}

}  // namespace onnxtool
