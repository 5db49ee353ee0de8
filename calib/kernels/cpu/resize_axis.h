// One axis of Resize and Upsample: which input elements an output position reads, and how much of
// each.
#pragma once

#include "calib/kernels/cpu/common.h"

namespace onnxtool {

enum class ResizeMode : uint8_t { kNearest, kLinear, kCubic };
enum class ResizeCoordinates : uint8_t {
  kHalfPixel,
  kHalfPixelSymmetric,
  kPytorchHalfPixel,
  kAlignCorners,
  kAsymmetric,
  kTfHalfPixelForNn,
  kTfCropAndResize
};
enum class ResizeRounding : uint8_t {
  kRoundPreferFloor,
  kRoundPreferCeil,
  kFloor,
  kCeil,
  kSimple  // before opset 11: up when the axis shrinks, else down
};

struct ResizeOptions {
  ResizeMode mode = ResizeMode::kNearest;
  ResizeCoordinates coordinates = ResizeCoordinates::kHalfPixel;
  ResizeRounding rounding = ResizeRounding::kRoundPreferFloor;
  bool antialias = false, exclude_outside = false;
  float cubic_a = -0.75f;
};

/// Extents of one axis. length: scale * in before rounding, where scales were given, else out.
struct ResizeExtent {
  int64_t in = 1, out = 1;
  float scale = 1, length = 1;
  float roi_start = 0, roi_end = 1;

  /// Whether output equals input along this axis.
  bool identity() const { return in == out && scale == 1 && roi_start == 0 && roi_end == 1; }
};

/// Output position o is the sum of weights[o * taps + t] * x[indices[o * taps + t]] over t < taps.
struct ResizeAxis {
  int64_t taps = 1;
  Dims indices;
  std::vector<double> weights;  // empty for nearest: all 1
  std::vector<bool> outside;    // takes the extrapolation value; empty: none
};

/// in must not be 0 unless out is.
ResizeAxis resize_axis(const ResizeExtent& extent, const ResizeOptions& options);

}  // namespace onnxtool
