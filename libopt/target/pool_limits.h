// What onnxruntime's QLinearGlobalAveragePool computes with; beyond, every run of it throws.
//
//   ratio = x_scale / (y_scale * pixels)      2^-32 <= ratio < 2^8      in float32
//
// Source: onnxruntime 1.31, core/mlas/lib/qlgavgpool.cpp. The other integer kernels take any
// scales: QLinearAdd on ARM alone has a limit, beyond which it computes in float (qladd.cpp).
#pragma once

#include <cstdint>

namespace onnxtool {

inline constexpr float kLeastPoolRatio = 0x1p-32F, kPoolRatioEnd = 256;
inline constexpr int64_t kPoolPixelsEnd = int64_t{1} << 24;

inline bool global_pool_takes(float x_scale, float y_scale, int64_t pixels) {
  const float ratio = x_scale / (y_scale * static_cast<float>(pixels));
  return pixels < kPoolPixelsEnd && ratio >= kLeastPoolRatio && ratio < kPoolRatioEnd;
}

}  // namespace onnxtool
