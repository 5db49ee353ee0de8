// What the attributes and shapes of normalizations say, for the kernels of the host and of devices.
#pragma once

#include "calib/kernels/cpu/convert.h"

namespace onnxtool {

/// LayerNormalization and its kin: rows of `length` elements, the axes from `axis` on.
struct NormRows {
  size_t axis = 0;
  int64_t rows = 0, length = 0;
  double epsilon = 0;
  std::span<const int64_t> trailing;  // of x: the normalized axes
  Dims statistics;                    // dims of the means: x's, 1 along the normalized axes
};
Result<NormRows> norm_rows(const NodeView& node, const ConstView& x);

/// Input `i` (scale or bias) in the wide type of `type`, repeated to `wanted`, the trailing dims of
/// x.
Result<ConstView> trailing_operand(KernelContext& ctx, int i, DataType type,
                                   std::span<const int64_t> wanted);

/// LpNormalization: lines, and whether the norm is that of squares.
struct LpNorm {
  LineShape lines;
  bool squares = true;
};
Result<LpNorm> lp_norm(const NodeView& node, const ConstView& x);

}  // namespace onnxtool
