#include "calib/kernels/dnnl/requantize.h"

#include <bit>

#include "calib/kernels/dnnl/multiversion.h"

namespace onnxtool {

namespace {

// Clipped first, so that adding 1.5 * 2^23 rounds to
// an integer, half to even, in the last bits.
template <bool kShifted>
__attribute__((always_inline)) inline void requantize_lines(const int32_t* sums, int64_t lines,
                                                            const Requantization& r, uint8_t* y,
                                                            int64_t y_stride) {
  // Copies, since a store of bytes may change anything that is read through a pointer.
  const float* const multipliers = r.multipliers;
  const int32_t *const bias = r.bias, *const zeros = r.weight_zeros;
  const int64_t channels = r.channels;
  const auto zero_point = static_cast<uint32_t>(r.zero_point);
  const auto low = static_cast<float>(r.low - r.zero_point),
             high = static_cast<float>(r.high - r.zero_point);
  for (int64_t i = 0; i < lines; ++i, sums += channels, y += y_stride) {
    const uint32_t shift = kShifted ? static_cast<uint32_t>(r.line_sums[i]) : 0;
#pragma GCC ivdep
    for (int64_t c = 0; c < channels; ++c) {
      uint32_t sum = static_cast<uint32_t>(sums[c]) + static_cast<uint32_t>(bias[c]);
      if constexpr (kShifted) sum -= shift * static_cast<uint32_t>(zeros[c]);
      float v = static_cast<float>(static_cast<int32_t>(sum)) * multipliers[c];
      v = v > low ? v : low;
      v = v < high ? v : high;
      y[c] =
          static_cast<uint8_t>(std::bit_cast<uint32_t>(v + 0x1.8p23f) - 0x4b400000u + zero_point);
    }
  }
}

ONNXTOOL_MULTIVERSION void requantize_plain(const int32_t* sums, int64_t lines,
                                            const Requantization& r, uint8_t* y, int64_t y_stride) {
  requantize_lines<false>(sums, lines, r, y, y_stride);
}
ONNXTOOL_MULTIVERSION void requantize_shifted(const int32_t* sums, int64_t lines,
                                              const Requantization& r, uint8_t* y,
                                              int64_t y_stride) {
  requantize_lines<true>(sums, lines, r, y, y_stride);
}

}  // namespace

void requantize(const int32_t* sums, int64_t lines, const Requantization& r, uint8_t* y,
                int64_t y_stride) {
  (r.line_sums ? requantize_shifted : requantize_plain)(sums, lines, r, y, y_stride);
}

}  // namespace onnxtool
