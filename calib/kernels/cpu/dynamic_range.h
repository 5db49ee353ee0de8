// The scale and zero point that DynamicQuantizeLinear gives a tensor: its range and 0 on 0..255.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace onnxtool {

struct DynamicRange {
  float scale = 1;
  int32_t zero_point = 0;
};

inline DynamicRange dynamic_range(const float* x, int64_t n) {
  // Chains whose comparisons need not wait for each other; the result does not depend on them.
  constexpr int kChains = 16;
  float lows[kChains] = {}, highs[kChains] = {};
  int64_t i = 0;
  for (; i + kChains <= n; i += kChains)
    for (int j = 0; j < kChains; ++j) {
      lows[j] = x[i + j] < lows[j] ? x[i + j] : lows[j];
      highs[j] = x[i + j] > highs[j] ? x[i + j] : highs[j];
    }
  for (; i < n; ++i) {
    lows[0] = x[i] < lows[0] ? x[i] : lows[0];
    highs[0] = x[i] > highs[0] ? x[i] : highs[0];
  }
  const float low = *std::min_element(lows, lows + kChains),
              high = *std::max_element(highs, highs + kChains);
  DynamicRange r;
  r.scale = high == low ? 1.0f : (high - low) / 255.0f;
  const float zero_point = std::nearbyint(-low / r.scale);
  r.zero_point = zero_point > 0 ? static_cast<int32_t>(std::min(zero_point, 255.0f)) : 0;  // NaN: 0
  return r;
}

}  // namespace onnxtool
