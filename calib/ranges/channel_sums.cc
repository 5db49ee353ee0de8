#include "calib/ranges/channel_sums.h"

#include <algorithm>

namespace onnxtool {

void ChannelSums::start(size_t channels, int64_t values) {
  squares.assign(channels, 0);
  nonzero.assign(channels, 0);
  min.assign(channels, 0);
  max.assign(channels, 0);
  values_per_channel = values;
}

void ChannelSums::add_pixel(const float* x) {
  const size_t n = squares.size();
  double *const sum = squares.data(), *const count = nonzero.data();
  float *const low = min.data(), *const high = max.data();
  for (size_t c = 0; c < n; ++c) sum[c] += static_cast<double>(x[c]) * x[c];
  for (size_t c = 0; c < n; ++c) count[c] += x[c] != 0 ? 1.0 : 0.0;
  for (size_t c = 0; c < n; ++c) low[c] = x[c] < low[c] ? x[c] : low[c];
  for (size_t c = 0; c < n; ++c) high[c] = x[c] > high[c] ? x[c] : high[c];
}

void ChannelSums::add_plane(size_t channel, const float* x, int64_t n) {
  double sum = squares[channel];
  int64_t count = 0;
  float low = min[channel], high = max[channel];
  for (int64_t i = 0; i < n; ++i) {
    sum += static_cast<double>(x[i]) * x[i];
    count += x[i] != 0;
    low = std::min(low, x[i]);
    high = std::max(high, x[i]);
  }
  squares[channel] = sum;
  nonzero[channel] += static_cast<double>(count);
  min[channel] = low;
  max[channel] = high;
}

}  // namespace onnxtool
