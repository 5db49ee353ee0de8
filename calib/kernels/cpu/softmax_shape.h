// The lines along which Softmax, LogSoftmax and Hardmax normalize.
#pragma once

#include "calib/kernels/cpu/common.h"

namespace onnxtool {

/// From opset 13 along `axis` (default -1); before, over all axes from `axis` (default 1) on as
/// one.
inline Result<LineShape> softmax_lines(const KernelContext& ctx) {
  const ConstView& x = ctx.input(0);
  const bool coerces = ctx.node().opset() < 13;
  const int64_t axis = ctx.node().attr_int("axis", coerces ? 1 : -1);
  if (coerces && axis == x.rank()) return LineShape{x.count, 1, 1};  // as Flatten allows
  if (x.rank() == 0) return LineShape{};
  ONNXTOOL_ASSIGN(const int64_t a, resolve_axis(axis, x.rank()));
  if (!coerces) return line_shape(x.dims, a);
  const auto split = static_cast<size_t>(a);
  return LineShape{product(x.dims, 0, split), product(x.dims, split, x.dims.size()), 1};
}

}  // namespace onnxtool
