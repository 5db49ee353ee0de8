// Scale and zero-point arithmetic of integer quantization: every number that a quantized model
// stores is computed here.
//
//   q = clip(round_half_even(x / scale) + zero_point)      division in float32
//   x' = (q - zero_point) * scale
//
// Scale and zero point before rounding are grid_of()'s (calib/ranges/calibrator.h), which
// calibrators share. Source: ONNX QuantizeLinear-21; onnxruntime's quantization tool for what
// ort_compat says.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "calib/ranges/calibrator.h"
#include "libopt/ir/dtype.h"
#include "libopt/support/status.h"
#include "libopt/target/pair_sums.h"

namespace onnxtool {

/// u8, s8, u16, s16, u4, s4, u2, s2.
bool is_quantized_integer(DataType type);

/// The integers of a type. symmetric leaves out the lowest of a signed type (s8: -127..127);
/// reduced is one bit less (s8: -64..64, u8: 0..127) and wins over symmetric; both narrow the scale
/// only, values still saturate at the type's own limits. The type must be is_quantized_integer, or
/// an 8-bit float of quant/float8.h, which is symmetric and whole whatever is asked for.
/// Without `ort_compat`, s4 and s2 symmetric leave out the lowest too; with it they keep it, which
/// puts +absmax half a step outside (reference: onnxruntime, s4 symmetric has scale absmax / 7.5).
QuantScheme scheme_of(DataType type, bool symmetric, bool reduced = false, bool ort_compat = false);

struct QuantParams {
  float scale = 1;
  int32_t zero_point = 0;
};

/// Of an activation. min_real_range > 0 widens max to at least min + min_real_range.
/// The scale is rounded to float once, after the zero point was computed from the unrounded one.
/// An error (kNotFinite) for a range that is not finite or whose scale passes float.
Result<QuantParams> compute(Range range, const QuantScheme& scheme, double min_real_range = 0);

/// The code of one value, as the QuantizeLinear of a runtime computes it; of an 8-bit float its
/// bits. NaN gives the zero point.
int32_t quantize_value(float x, QuantParams params, const QuantScheme& scheme);
inline float dequantize_value(int32_t q, QuantParams params) {
  return static_cast<float>(q - params.zero_point) * params.scale;
}
/// The representable values at the ends of the type.
Range representable(QuantParams params, const QuantScheme& scheme);

struct WeightOptions {
  DataType type = DataType::kInt8;
  bool symmetric = true;
  bool reduced = false;
  bool ort_compat = false;
  /// Shrinks each channel's range where that lowers the squared error.
  /// 8-bit floats always take the scale with the least.
  bool mse_clip = false;
  /// Symmetric s8 only: no pair of these saturates (quant/pair_limit.h).
  std::optional<PairOrder> pairs;
};

/// [dims] in the order of the float weights. 4- and 2-bit values are packed, the first in the low
/// bits, as TensorProto.raw_data wants them. scales and zero_points have one element per channel,
/// one in all when per-tensor, or dims with ceil(dims[axis] / block) along the axis when blocked.
struct QuantizedWeights {
  DataType type = DataType::kInt8;
  std::vector<uint8_t> bytes;
  std::vector<float> scales;
  std::vector<int32_t> zero_points;
  std::optional<int64_t> axis;  // nullopt: per-tensor
  int64_t block = 0;            // 0: not blocked
  /// Channels where pairs would saturate with each weight at its nearest code; one in all when
  /// per-tensor.
  int64_t limited_channels = 0;
};

/// axis: nullopt for per-tensor; may be negative. Errors: NaN or infinity among the weights
/// (kNotFinite, with the flat index), an axis outside the rank.
/// Channels of only zeros and empty tensors get scale 1.
Result<QuantizedWeights> quantize_weights(std::span<const float> weights,
                                          std::span<const int64_t> dims,
                                          std::optional<int64_t> axis,
                                          const WeightOptions& options);

/// With scales given (one per channel or one); zero points 0 for symmetric signed types.
Result<QuantizedWeights> quantize_weights_with(std::span<const float> weights,
                                               std::span<const int64_t> dims,
                                               std::optional<int64_t> axis,
                                               const WeightOptions& options,
                                               std::span<const float> scales,
                                               std::span<const int32_t> zero_points);

/// ONNX block quantization: blocks of `block` along `axis`, the last one may be short.
Result<QuantizedWeights> quantize_weights_blocked(std::span<const float> weights,
                                                  std::span<const int64_t> dims, int64_t axis,
                                                  int64_t block, const WeightOptions& options);

/// The float values that a runtime will see.
std::vector<float> dequantize_weights(const QuantizedWeights& weights,
                                      std::span<const int64_t> dims);

/// int32 with scale = activation_scale x weight_scale (a float product, as runtimes compute it) and
/// zero point 0.
struct QuantizedBias {
  std::vector<int32_t> values;
  std::vector<float> scales;  // one per channel, or one
  /// Channels whose weight scale was raised (ascending); weights were requantized accordingly.
  std::vector<int64_t> raised;
};

/// Magnitude of a quantized bias beyond which accumulators could wrap; 2^30.
inline constexpr int64_t kBiasLimit = int64_t{1} << 30;

/// Quantizes a bias of [channels], or of one element per channel of the weights' axis, and raises
/// the weight scale of channels where |bias / scale| would pass kBiasLimit to |bias| /
/// (activation_scale x kBiasLimit), requantizing those weights (all of them when per-tensor).
/// ort_compat instead follows onnxruntime: only for signed symmetric weights the scale is raised to
/// 1.0001 x 2 |bias| / ((2^32 - 2) x activation_scale) where it is smaller; values are clipped to
/// int32. `weights` must be `quantized` before quantization, of these dims.
Result<QuantizedBias> quantize_bias(std::span<const float> bias, float activation_scale,
                                    QuantizedWeights& quantized, std::span<const float> weights,
                                    std::span<const int64_t> dims, const WeightOptions& options);

}  // namespace onnxtool
