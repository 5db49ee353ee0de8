// Cutting and joining tensors along an axis, for operators that work on whole values.
#pragma once

#include <span>

#include "libopt/ir/tensor.h"

namespace onnxtool {

/// [-rank, rank) to [0, rank); `rank` counts a new axis where one is made.
Result<int64_t> resolved_axis(int64_t axis, int64_t rank);
/// `count` positions of `axis` from `begin`, which must lie inside. Not for elements below a byte.
Result<Tensor> part_of(const Tensor& t, int64_t axis, int64_t begin, int64_t count);
/// One behind the other along `axis`; the other extents and the types must agree. There must be one
/// at least.
Result<Tensor> joined(std::span<const Tensor> parts, int64_t axis);

}  // namespace onnxtool
