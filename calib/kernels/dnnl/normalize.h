// y = (x - mean) * k + b, then Relu where that was fused. NaN stays NaN, with Relu too.
#pragma once

#include <cstdint>

namespace onnxtool {

/// One value of each parameter for each element.
void normalize_line(const float* x, const float* mean, const float* k, const float* b, bool relu,
                    int64_t n, float* y);
/// The same parameters for all elements.
void normalize_plane(const float* x, float mean, float k, float b, bool relu, int64_t n, float* y);

}  // namespace onnxtool
