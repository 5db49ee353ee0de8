// Checks of index tensors (see the header).

#include "calib/kernels/cpu/indices.h"

#include "calib/kernels/cpu/walk.h"

namespace onnxtool {

Result<std::span<const int64_t>> checked_indices(KernelContext& ctx, const ConstView& view,
                                                 std::span<const int64_t> extents) {
  ONNXTOOL_ASSIGN(void* buffer, ctx.scratch(static_cast<size_t>(view.count) * sizeof(int64_t)));
  const std::span<int64_t> out(static_cast<int64_t*>(buffer), static_cast<size_t>(view.count));
  ONNXTOOL_TRY(read_indices(view, extents, out));
  return std::span<const int64_t>(out);
}

Status read_indices(const ConstView& view, std::span<const int64_t> extents,
                    std::span<int64_t> out) {
  if (view.dtype != DataType::kInt64 && view.dtype != DataType::kInt32)
    return bad_model("indices have element type " + std::string(name(view.dtype)) +
                     ", expected int64 or int32");
  convert_elements(view.dtype, view.data, DataType::kInt64, out.data(), 0, view.count);
  for (size_t i = 0; i < out.size() && !extents.empty();) {
    for (const int64_t extent : extents) {
      if (out[i] < -extent || out[i] >= extent)
        return mismatch("index " + std::to_string(out[i]) + " is out of range for an extent of " +
                        std::to_string(extent));
      if (out[i] < 0) out[i] += extent;
      ++i;
    }
  }
  return {};
}

Status check_element_indices(std::span<const int64_t> data, std::span<const int64_t> indices,
                             int64_t axis) {
  bool fits = data.size() == indices.size();
  for (size_t i = 0; fits && i < data.size(); ++i)
    fits = static_cast<int64_t>(i) == axis || indices[i] <= data[i];
  if (fits) return {};
  return mismatch("indices have shape " + format_dims(indices) +
                  ", which does not fit data of shape " + format_dims(data));
}

Result<TupleShape> tuple_shape(std::span<const int64_t> data, std::span<const int64_t> indices,
                               int64_t batch_dims) {
  const auto smaller = static_cast<int64_t>(std::min(data.size(), indices.size()));
  if (batch_dims < 0 || batch_dims >= std::max<int64_t>(smaller, 1))
    return bad_model("batch_dims is " + std::to_string(batch_dims) + " for data of shape " +
                     format_dims(data) + " and indices of shape " + format_dims(indices));
  if (indices.empty())
    return mismatch("indices are a scalar, expected a last axis with index tuples");
  const auto batch = static_cast<size_t>(batch_dims);
  for (size_t i = 0; i < batch; ++i)
    if (data[i] != indices[i])
      return mismatch("data of shape " + format_dims(data) + " and indices of shape " +
                      format_dims(indices) + " differ in batch dimension " + std::to_string(i));
  const int64_t depth = indices.back();
  if (depth > static_cast<int64_t>(data.size() - batch))
    return mismatch("index tuples have " + std::to_string(depth) +
                    " components but the data has rank " + std::to_string(data.size() - batch) +
                    " below the batch");
  TupleShape shape;
  const Dims strides = contiguous_strides(data);
  const size_t end = batch + static_cast<size_t>(depth);
  shape.extents.assign(data.begin() + batch_dims, data.begin() + static_cast<int64_t>(end));
  shape.strides.assign(strides.begin() + batch_dims, strides.begin() + static_cast<int64_t>(end));
  shape.length = product(data, end, data.size());
  shape.batch_stride = product(data, batch, data.size());
  return shape;
}

}  // namespace onnxtool
