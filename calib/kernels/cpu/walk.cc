// Broadcasting of shapes.

#include "calib/kernels/cpu/walk.h"

namespace onnxtool {

Result<Dims> broadcast_dims(std::initializer_list<std::span<const int64_t>> shapes) {
  size_t rank = 0;
  for (const auto shape : shapes) rank = std::max(rank, shape.size());
  Dims dims(rank, 1);
  for (const auto shape : shapes) {
    const size_t lead = rank - shape.size();
    for (size_t i = 0; i < shape.size(); ++i) {
      if (shape[i] == 1 || shape[i] == dims[lead + i]) continue;
      if (dims[lead + i] != 1) {
        std::string message = "shapes";
        for (const auto s : shapes) message += " " + format_dims(s);
        return mismatch(message + " do not broadcast");
      }
      dims[lead + i] = shape[i];
    }
  }
  return dims;
}

Dims broadcast_strides(std::span<const int64_t> from, std::span<const int64_t> to) {
  Dims strides(to.size(), 0);
  const size_t lead = to.size() - from.size();
  const Dims own = contiguous_strides(from);
  for (size_t i = 0; i < from.size(); ++i)
    if (from[i] != 1) strides[lead + i] = own[i];
  return strides;
}

}  // namespace onnxtool
