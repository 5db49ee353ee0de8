#include "calib/kernels/cpu/resize_axis.h"

#include <algorithm>
#include <cmath>

namespace onnxtool {

namespace {

/// Where output position o lies on the input. In float, as other runtimes do: positions that should
/// be integers round to them.
float source_position(const ResizeExtent& e, ResizeCoordinates coordinates, int64_t o) {
  const float x = static_cast<float>(o), in = static_cast<float>(e.in);
  switch (coordinates) {
    case ResizeCoordinates::kHalfPixel: return (x + 0.5f) / e.scale - 0.5f;
    case ResizeCoordinates::kHalfPixelSymmetric: {
      // Maps the centre of the input to the centre of the output when that was cut to an integer.
      const float adjustment = static_cast<float>(e.out) / e.length;
      return in / 2 * (1 - adjustment) + (x + 0.5f) / e.scale - 0.5f;
    }
    case ResizeCoordinates::kPytorchHalfPixel: return e.out > 1 ? (x + 0.5f) / e.scale - 0.5f : 0;
    // With scale * in before rounding, as onnx's own tests have it; others divide by out - 1.
    case ResizeCoordinates::kAlignCorners: return e.length == 1 ? 0 : x * (in - 1) / (e.length - 1);
    case ResizeCoordinates::kAsymmetric: return x / e.scale;
    case ResizeCoordinates::kTfHalfPixelForNn: return (x + 0.5f) / e.scale;
    case ResizeCoordinates::kTfCropAndResize:
      return e.out > 1 ? e.roi_start * (in - 1) + x * (e.roi_end - e.roi_start) * (in - 1) /
                                                      static_cast<float>(e.out - 1)
                       : 0.5f * (e.roi_start + e.roi_end) * (in - 1);
  }
  return x;
}

float nearest(float x, ResizeRounding rounding, bool shrinks) {
  switch (rounding) {
    case ResizeRounding::kRoundPreferFloor: return std::ceil(x - 0.5f);
    case ResizeRounding::kRoundPreferCeil: return std::floor(x + 0.5f);
    case ResizeRounding::kFloor: return std::floor(x);
    case ResizeRounding::kCeil: return std::ceil(x);
    case ResizeRounding::kSimple: return shrinks ? std::ceil(x) : std::trunc(x);
  }
  return x;
}

int64_t clamp_index(float x, int64_t in) {
  // Also puts NaN and infinities inside.
  if (!(x > 0)) return 0;
  return x >= static_cast<float>(in - 1) ? in - 1 : static_cast<int64_t>(x);
}

double linear_weight(double x) { return std::max(0.0, 1 - std::abs(x)); }
double cubic_weight(double x, double a) {
  x = std::abs(x);
  if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
  return 0;
}

}  // namespace

ResizeAxis resize_axis(const ResizeExtent& e, const ResizeOptions& options) {
  ResizeAxis axis;
  if (e.out == 0) return axis;
  const auto position = [&](int64_t o) { return source_position(e, options.coordinates, o); };
  if (options.coordinates == ResizeCoordinates::kTfCropAndResize)
    for (int64_t o = 0; o < e.out; ++o)
      axis.outside.push_back(!(position(o) >= 0 && position(o) <= static_cast<float>(e.in - 1)));
  if (options.mode == ResizeMode::kNearest) {
    for (int64_t o = 0; o < e.out; ++o)
      axis.indices.push_back(
          clamp_index(nearest(position(o), options.rounding, e.scale < 1), e.in));
    return axis;
  }
  // Antialiasing stretches the filter by how much the axis shrinks.
  const double stretch = options.antialias ? std::min(1.0, static_cast<double>(e.scale)) : 1.0;
  const double radius = options.mode == ResizeMode::kLinear ? 1 : 2;
  // Taps (1 - half, half] around the element on the left. Beyond the input all are its edge: past
  // its extent on both sides a filter needs no more of them.
  const double reach = std::min(-std::floor(-radius / stretch), static_cast<double>(4 * e.in + 8));
  const int64_t half = static_cast<int64_t>(reach);
  axis.taps = 2 * half;
  axis.indices.resize(static_cast<size_t>(e.out * axis.taps));
  axis.weights.resize(static_cast<size_t>(e.out * axis.taps));
  for (int64_t o = 0; o < e.out; ++o) {
    double x = static_cast<double>(position(o));
    // Far outside every tap is an edge.
    const double limit = static_cast<double>(e.in + 2 * half + 2);
    x = x > -limit ? std::min(x, limit) : -limit;
    // The element on the left of x; x itself when it is one counts as being on its right.
    const double left = std::ceil(x) - 1, ratio = x - left;
    int64_t* indices = &axis.indices[static_cast<size_t>(o * axis.taps)];
    double* weights = &axis.weights[static_cast<size_t>(o * axis.taps)];
    double sum = 0;
    for (int64_t t = 0; t < axis.taps; ++t) {
      const int64_t offset = t - half + 1, index = static_cast<int64_t>(left) + offset;
      const double distance = (static_cast<double>(offset) - ratio) * stretch;
      weights[t] = options.mode == ResizeMode::kLinear
                       ? linear_weight(distance)
                       : cubic_weight(distance, static_cast<double>(options.cubic_a));
      if (options.exclude_outside && (index < 0 || index >= e.in)) weights[t] = 0;
      indices[t] = std::clamp<int64_t>(index, 0, e.in - 1);
      sum += weights[t];
    }
    // Unstretched filters sum to 1 by themselves.
    if ((options.antialias || options.exclude_outside) && sum != 0)
      for (int64_t t = 0; t < axis.taps; ++t) weights[t] /= sum;
  }
  return axis;
}

}  // namespace onnxtool
