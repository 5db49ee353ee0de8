// Biases as 32-bit integers beside the weights that they are added to.

#include <algorithm>
#include <cmath>
#include <limits>

#include "quant/params.h"

namespace onnxtool {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr double kSmallestScale = std::numeric_limits<float>::min();

/// The weight scale for which the bias fits, or the given one.
float raised_scale(double absmax, float activation_scale, float weight_scale,
                   const WeightOptions& options, bool zero_points, bool per_channel) {
  const auto act = static_cast<double>(activation_scale),
             weight = static_cast<double>(weight_scale);
  if (options.ort_compat) {
    // Of signed symmetric 8- and 16-bit weights only. Source: its
    // _adjust_weight_scale_for_int32_bias.
    if ((options.type != DataType::kInt8 && options.type != DataType::kInt16) || zero_points)
      return weight_scale;
    constexpr double kMargin = 1.0001, kIntegers = 4294967294.0;
    // Of a channel, NumPy 2 computes this product in float.
    const double wide = kMargin * (2 * absmax);
    const float narrow = static_cast<float>(kMargin) * static_cast<float>(2 * absmax);
    const double smallest = (per_channel ? static_cast<double>(narrow) : wide) / kIntegers;
    const double candidate = act * weight;
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
    scales[c] = raised_scale(absmax, activation_scale, scales[c], options, zero_points,
                             quantized.axis.has_value());
    if (!std::isfinite(scales[c]))
      return Error{ErrorCode::kNotFinite,
                   "bias of channel " + std::to_string(c) + " needs a weight scale beyond float",
                   {}};
    if (scales[c] != quantized.scales[c]) result.raised.push_back(static_cast<int64_t>(c));
  }
  if (!result.raised.empty()) {
    const std::vector<int32_t> zeros = quantized.zero_points;
    const int64_t limited = quantized.limited_channels;
    ONNXTOOL_ASSIGN(quantized,
                    quantize_weights_with(weights, dims, quantized.axis, options, scales, zeros));
    quantized.limited_channels = limited;
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
