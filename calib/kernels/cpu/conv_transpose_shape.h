// Attributes and shapes of ConvTranspose.
#pragma once

#include "calib/kernels/cpu/conv_common.h"

namespace onnxtool {

struct TransposeAttributes {
  WindowAttributes window;
  Dims output_padding, output_shape;
  int64_t group = 1;
};
Result<TransposeAttributes> transpose_attributes(const NodeView& node);

/// Of x [N, C, spatial...] and weights [C, M / group, kernel...]. window.in are x's extents,
/// window.out y's: x is what Conv would have made of y.
Result<ConvShape> resolve_transpose(const TransposeAttributes& attributes,
                                    std::span<const int64_t> x, std::span<const int64_t> weights);

}  // namespace onnxtool
