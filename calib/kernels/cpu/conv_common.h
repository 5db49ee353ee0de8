// What the convolutions share before any arithmetic: their shapes and the checks on them.
#pragma once

#include "calib/kernels/cpu/conv_loops.h"

namespace onnxtool {

/// Checks x [N, C, spatial...] against weights [M, C / group, kernel...] and the attributes.
Result<ConvShape> resolve_conv(const WindowAttributes& attributes, int64_t group,
                               std::span<const int64_t> x, std::span<const int64_t> weights);

/// One input channel for each group: rows of pixels are convolved directly.
inline bool is_depthwise(int64_t group, std::span<const int64_t> weights) {
  return group > 1 && weights[1] == 1;
}

/// Checks that an optional input holds one value for each of `expected` channels.
Status check_vector(const ConstView& view, std::string_view what, int64_t expected);

}  // namespace onnxtool
