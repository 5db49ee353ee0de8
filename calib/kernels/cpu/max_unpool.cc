// MaxUnpool-9, 11, 22: values go where MaxPool took them from, zeros elsewhere. Indices count the
// elements of the tensor whose extents follow from kernel, strides and pads; output_shape may name
// a larger one, at whose beginning that tensor then lies.

#include "calib/kernels/cpu/indices.h"
#include "calib/kernels/cpu/walk.h"

namespace onnxtool {
namespace {

Result<Dims> unpooled_dims(const KernelContext& ctx) {
  const NodeView& node = ctx.node();
  const std::span<const int64_t> x = ctx.input(0).dims;
  const std::span<const int64_t> kernel = node.attr_ints("kernel_shape"),
                                 strides = node.attr_ints("strides"), pads = node.attr_ints("pads");
  const size_t axes = kernel.size();
  if (x.size() != axes + 2 || (!strides.empty() && strides.size() != axes) ||
      (!pads.empty() && pads.size() != 2 * axes))
    return bad_model("kernel_shape, strides and pads " + format_dims(kernel) + ", " +
                     format_dims(strides) + " and " + format_dims(pads) +
                     " do not fit an input of shape " + format_dims(x));
  Dims dims = to_dims(x);
  for (size_t i = 0; i < axes; ++i) {
    const auto spread = checked_mul(x[i + 2] - 1, strides.empty() ? 1 : strides[i]);
    auto extent = spread ? checked_add(*spread, kernel[i]) : std::nullopt;
    for (const size_t p : {i, axes + i})
      if (extent && !pads.empty())
        extent = checked_mul(pads[p], -1) ? checked_add(*extent, -pads[p]) : std::nullopt;
    if (!extent || (*extent < 0 && x[i + 2] != 0))
      return bad_model("kernel_shape, strides and pads give spatial axis " + std::to_string(i) +
                       " no valid extent");
    dims[i + 2] = std::max<int64_t>(*extent, 0);
  }
  if (!checked_product(dims)) return bad_model("the output " + format_dims(dims) + " is too large");
  return dims;
}

Status run(KernelContext& ctx) {
  const ConstView& x = ctx.input(0);
  if (!std::ranges::equal(x.dims, ctx.input(1).dims))
    return mismatch("indices have shape " + format_dims(ctx.input(1).dims) + ", expected " +
                    format_dims(x.dims));
  ONNXTOOL_ASSIGN(const Dims inferred, unpooled_dims(ctx));
  Dims dims = inferred;
  if (ctx.has_input(2)) {
    ONNXTOOL_ASSIGN(dims, integer_values(ctx.input(2), "output_shape"));
    bool fits = dims.size() == inferred.size() && checked_product(dims);
    for (size_t i = 0; fits && i < dims.size(); ++i) fits = dims[i] >= inferred[i];
    if (!fits)
      return mismatch("output_shape is " + format_dims(dims) + ", expected at least " +
                      format_dims(inferred));
  }
  const int64_t count = product(inferred);
  ONNXTOOL_ASSIGN(const auto indices, checked_indices(ctx, ctx.input(1), std::span(&count, 1)));
  ONNXTOOL_ASSIGN(const MovedOutput y, MovedOutput::make(ctx, 0, x.dtype, dims));
  const Dims strides = contiguous_strides(dims);
  dispatch_movement(x.dtype, [&]<class E>() {
    const E* from = static_cast<const E*>(x.data);
    E* to = static_cast<E*>(y.data());
    std::fill_n(to, y.count(), E{});
    for (int64_t i = 0; i < x.count; ++i) {
      int64_t rest = indices[static_cast<size_t>(i)], at = 0;
      for (size_t axis = dims.size(); axis-- > 0; rest /= inferred[axis])
        at += rest % inferred[axis] * strides[axis];
      to[at] = from[i];
    }
  });
  y.finish();
  return {};
}

}  // namespace

constinit const KernelInfo kMaxUnpool{
    .op = "MaxUnpool",
    .types = {DataType::kFloat, DataType::kDouble, DataType::kFloat16, DataType::kBfloat16},
    .prepare = needs_inputs<2>,
    .run = run};

}  // namespace onnxtool
