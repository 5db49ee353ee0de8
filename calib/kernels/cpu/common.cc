// Decoding that kernels share.

#include "calib/kernels/cpu/common.h"

namespace onnxtool {

Result<int64_t> resolve_axis(int64_t axis, int64_t rank, std::string_view what) {
  if (axis >= -rank && axis < rank) return axis < 0 ? axis + rank : axis;
  return bad_model(std::string(what) + " is " + std::to_string(axis) + " but the input has rank " +
                   std::to_string(rank));
}

Result<Dims> resolve_axes(std::span<const int64_t> axes, int64_t rank, std::string_view what) {
  std::vector<bool> seen(static_cast<size_t>(rank));
  Dims resolved;
  for (const int64_t axis : axes) {
    ONNXTOOL_ASSIGN(const int64_t a, resolve_axis(axis, rank, what));
    if (seen[static_cast<size_t>(a)])
      return bad_model(std::string(what) + " has axis " + std::to_string(a) + " twice");
    seen[static_cast<size_t>(a)] = true;
    resolved.push_back(a);
  }
  return resolved;
}

Result<Dims> integer_values(const ConstView& view, std::string_view what) {
  if (view.rank() > 1)
    return mismatch(std::string(what) + " has shape " + format_dims(view.dims) +
                    ", expected rank 0 or 1");
  if (view.dtype == DataType::kInt64) return to_dims(view.as<int64_t>());
  if (view.dtype == DataType::kInt32) {
    const auto values = view.as<int32_t>();
    return Dims(values.begin(), values.end());
  }
  return mismatch(std::string(what) + " has element type " + std::string(name(view.dtype)) +
                  ", expected int64 or int32");
}

Result<int64_t> integer_scalar(const ConstView& view, std::string_view what) {
  ONNXTOOL_ASSIGN(const Dims values, integer_values(view, what));
  if (values.size() != 1)
    return mismatch(std::string(what) + " has " + std::to_string(values.size()) +
                    " elements, expected 1");
  return values[0];
}

Result<std::optional<Dims>> integers_from(const KernelContext& ctx, int i, std::string_view name) {
  if (i >= 0 && ctx.has_input(i)) {
    ONNXTOOL_ASSIGN(Dims values, integer_values(ctx.input(i), name));
    return std::optional<Dims>(std::move(values));
  }
  if (!ctx.node().has_attribute(name)) return std::optional<Dims>();
  return std::optional<Dims>(to_dims(ctx.node().attr_ints(name)));
}

}  // namespace onnxtool
