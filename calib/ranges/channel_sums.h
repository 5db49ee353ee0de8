// What equalization wants to know of each channel of a tensor, summed up.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace onnxtool {

/// Sums and extrema of one tensor's channels, each in an array of its own, so that the loops over
/// channels are vectors.
struct ChannelSums {
  std::vector<double> squares, nonzero;
  std::vector<float> min, max;  // zero included
  int64_t values_per_channel = 0;

  void start(size_t channels, int64_t values);
  /// One value of every channel.
  void add_pixel(const float* x);
  /// n values of one channel.
  void add_plane(size_t channel, const float* x, int64_t n);
};

}  // namespace onnxtool
