#include "calib/kernels/dnnl/requantize.h"

#include <bit>

#include "calib/kernels/dnnl/multiversion.h"

namespace onnxtool {

// Clipped first, so that adding 1.5 * 2^23 rounds to
// an integer, half to even, in the last bits.
ONNXTOOL_MULTIVERSION void requantize(const int32_t* sums, int64_t lines, const Requantization& r,
                                      uint8_t* y, int64_t y_stride) {
  // Copies, since a store of bytes may change anything that is read through a pointer.
  const float* const multipliers = r.multipliers;
  const int32_t* const bias = r.bias;
  const int64_t channels = r.channels;
  const auto zero_point = static_cast<uint32_t>(r.zero_point);
  const auto low = static_cast<float>(r.low - r.zero_point),
             high = static_cast<float>(r.high - r.zero_point);
  for (int64_t i = 0; i < lines; ++i, sums += channels, y += y_stride) {
#pragma GCC ivdep
    for (int64_t c = 0; c < channels; ++c) {
      const uint32_t sum = static_cast<uint32_t>(sums[c]) + static_cast<uint32_t>(bias[c]);
      float v = static_cast<float>(static_cast<int32_t>(sum)) * multipliers[c];
      v = v > low ? v : low;
      v = v < high ? v : high;
      y[c] =
          static_cast<uint8_t>(std::bit_cast<uint32_t>(v + 0x1.8p23f) - 0x4b400000u + zero_point);
    }
  }
}

}  // namespace onnxtool
