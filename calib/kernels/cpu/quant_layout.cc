#include "calib/kernels/cpu/quant_layout.h"

#include <algorithm>

namespace onnxtool {

Result<QuantParameters> quant_parameters_of(KernelContext& ctx) {
  const ConstView& x = ctx.input(0);
  const ConstView& scale = ctx.input(1);
  const int64_t block = ctx.node().attr_int("block_size", 0);
  QuantParameters p;
  if (wide_type(scale.dtype) != DataType::kFloat) return unsupported_type(scale.dtype, "the scale");
  if (block < 0) return bad_model("block_size is " + std::to_string(block));
  if (block > 0) {
    p.kind = QuantParameters::Kind::kBlock;
    ONNXTOOL_ASSIGN(const int64_t axis, resolve_axis(ctx.node().attr_int("axis", 1), x.rank()));
    p.shape = line_shape(x.dims, axis);
    p.block = std::min(block, std::max<int64_t>(p.shape.n, 1));
    Dims expected = to_dims(x.dims);
    expected[static_cast<size_t>(axis)] = p.blocks();
    if (!std::ranges::equal(scale.dims, expected))
      return mismatch("scale has shape " + format_dims(scale.dims) + ", expected " +
                      format_dims(expected) + " for blocks of " + std::to_string(block));
  } else if (scale.count == 1 && scale.rank() <= 1) {
    p.shape = {1, 1, x.count};
  } else {
    p.kind = QuantParameters::Kind::kAxis;
    ONNXTOOL_ASSIGN(const int64_t axis, resolve_axis(ctx.node().attr_int("axis", 1), x.rank()));
    p.shape = line_shape(x.dims, axis);
    if (scale.rank() != 1 || scale.count != p.shape.n)
      return mismatch("scale has shape " + format_dims(scale.dims) + ", expected [" +
                      std::to_string(p.shape.n) + "] for axis " + std::to_string(axis));
  }
  ONNXTOOL_ASSIGN(const ConstView scales, converted(ctx, scale, DataType::kFloat));
  p.scale = static_cast<const float*>(scales.data);
  if (ctx.has_input(2) && !is_small_float(ctx.input(2).dtype)) {
    if (ctx.input(2).count != scale.count)
      return mismatch("zero point has shape " + format_dims(ctx.input(2).dims) +
                      ", expected that of the scale, " + format_dims(scale.dims));
    if (wide_type(ctx.input(2).dtype) == DataType::kUndefined)
      return unsupported_type(ctx.input(2).dtype, "the zero point");
    ONNXTOOL_ASSIGN(const ConstView zero_points, converted(ctx, ctx.input(2), DataType::kInt32));
    p.zero_point = static_cast<const int32_t*>(zero_points.data);
  }
  return p;
}

}  // namespace onnxtool
