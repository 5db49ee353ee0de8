// Index tensors of the gather and scatter families: their values are checked before they are used.
#pragma once

#include "calib/kernels/cpu/convert.h"

namespace onnxtool {

/// The values of an int32 or int64 view, each in [-extent, extent) and made non-negative. Extents
/// repeat: one for all, or one per component where the last axis holds index tuples.
Result<std::span<const int64_t>> checked_indices(KernelContext& ctx, const ConstView& view,
                                                 std::span<const int64_t> extents);

/// The same into `out`, of view.count elements, from a view in host memory.
Status read_indices(const ConstView& view, std::span<const int64_t> extents,
                    std::span<int64_t> out);

/// GatherElements and ScatterElements: indices have the data's rank and fit into it but for `axis`.
Status check_element_indices(std::span<const int64_t> data, std::span<const int64_t> indices,
                             int64_t axis);

/// Index tuples of GatherND and ScatterND: each names a block of `length` elements.
struct TupleShape {
  Dims extents;  // per component of a tuple
  Dims strides;  // in the data
  int64_t length = 1;
  int64_t batch_stride = 0;

  int64_t depth() const { return static_cast<int64_t>(extents.size()); }
  /// Of tuple `r`, within its batch.
  int64_t offset(std::span<const int64_t> indices, int64_t r) const {
    int64_t at = 0;
    for (size_t i = 0; i < extents.size(); ++i)
      at += indices[static_cast<size_t>(r) * extents.size() + i] * strides[i];
    return at;
  }
};
Result<TupleShape> tuple_shape(std::span<const int64_t> data, std::span<const int64_t> indices,
                               int64_t batch_dims);

}  // namespace onnxtool
