// Calibrators: pure functions from a summary and an integer grid to the range that is quantized.
//
// They read nothing but the summary, so that another calibrator can be applied to saved summaries
// without running the model. Zero always lies inside the result: it is then represented exactly.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "calib/ranges/summary.h"
#include "libopt/support/status.h"

namespace onnxtool {

/// A closed interval of real values; min <= 0 <= max when it comes from a calibrator.
struct Range {
  double min = 0;
  double max = 0;
  bool operator==(const Range&) const = default;
};

/// Which integers stand for which reals. qmin and qmax span the range and so set the scale;
/// clip_min and clip_max are where values saturate: the limits of the type, which onnxruntime's
/// symmetric (-127..127) and reduced (0..127) ranges do not reach.
struct QuantScheme {
  int32_t qmin = 0;
  int32_t qmax = 255;
  bool symmetric = false;
  int32_t clip_min = 0;
  int32_t clip_max = 255;
  /// Not 0: codes are 8-bit floats with so many bits of mantissa, qmax the largest of them and
  /// 2^min_exponent the least normal one; their zero point is 0, and the grid is symmetric.
  int mantissa_bits = 0;
  int min_exponent = 0;
  bool is_float8() const { return mantissa_bits > 0; }
};

/// real = (q - zero_point) * scale.
struct Grid {
  double scale = 1;
  int32_t zero_point = 0;
};

/// Scale and zero point before any rounding of the scale to a tensor type; quant/params.h adds
/// that. The range is widened to hold zero; symmetric: to [-m, m], m = max(|min|, |max|), zero
/// point round((qmin + qmax) / 2). Rounding is half to even. A range whose scale would fall below
/// the smallest normal float gives {1, 0}. The zero point is not clipped to the type (it cannot
/// leave [qmin, qmax], since the range holds zero). Source: onnxruntime quantization tool,
/// compute_scale_zp.
Grid grid_of(Range range, const QuantScheme& scheme);

enum class Calibrator : uint8_t { kMinMax, kMovingAverage, kPercentile, kEntropy, kMse };

/// "minmax", "moving-average", "percentile", "entropy", "mse".
std::string_view name(Calibrator calibrator);
Result<Calibrator> parse_calibrator(std::string_view text);

struct CalibratorOptions {
  /// Share of the values, in percent, that the range holds; in (0, 100].
  double percentile = 99.999;
  /// Ranges as onnxruntime's calibrators of the same name give them.
  bool ort_compat = false;
};

/// The lowest and the highest value of a tensor in one sample; both 0 where it has no values.
struct Extremes {
  float min = 0;
  float max = 0;
  bool operator==(const Extremes&) const = default;
};

/// Errors: nothing was observed (kBadData), NaN or infinities were (kNotFinite), the summary has no
/// histogram and the calibrator needs one, or an option lies outside its domain, as the entropy of
/// codes that are floats does (kUsage). The
/// caller adds the tensor's name. An all-zero tensor gives {0, 0}. The moving average wants the
/// extremes of every sample, in order; without any it fails (kBadData).
Result<Range> calibrate(Calibrator calibrator, const Summary& summary, const QuantScheme& scheme,
                        const CalibratorOptions& options = {},
                        std::span<const Extremes> samples = {});

/// Expected signal-to-quantization-noise ratio in dB of quantizing the summarized values on
/// grid_of(range, scheme): 10 log10(E[x^2] / E[(x - dq(q(x)))^2]), by exact integration of a
/// uniform density in each bucket. +inf without error (an all-zero tensor included); NaN without a
/// histogram.
double expected_sqnr(const Summary& summary, Range range, const QuantScheme& scheme);

/// The mean squared error behind expected_sqnr, over all finite values (zeros included).
double expected_mse(const Summary& summary, Range range, const QuantScheme& scheme);

}  // namespace onnxtool
