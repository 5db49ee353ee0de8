// OneHot: the second of two values where an index points along a new axis, elsewhere, and for
// indices out of range, the first.

#include <algorithm>

#include "calib/kernels/cpu/convert.h"

namespace onnxtool {
namespace {

#if !defined(ONNXTOOL_DEVICE_KERNELS)  // a device has a loop of its own
template <class E>
void put_hot(KernelContext& ctx, const int64_t* indices, const LineShape& shape, const E* off_on,
             E* out) {
  const int64_t depth = shape.n;
  ctx.parallel(shape.outer, grain_of(depth * shape.inner), [&](int64_t begin, int64_t end) {
    std::fill(out + begin * depth * shape.inner, out + end * depth * shape.inner, off_on[0]);
    for (int64_t o = begin; o < end; ++o)
      for (int64_t i = 0; i < shape.inner; ++i) {
        int64_t index = indices[o * shape.inner + i];
        if (index < -depth || index >= depth) continue;
        if (index < 0) index += depth;
        out[(o * depth + index) * shape.inner + i] = off_on[1];
      }
  });
}
#endif

Status one_hot(KernelContext& ctx) {
  const ConstView& index_view = ctx.input(0);
  const ConstView& depth_view = ctx.input(1);
  const DataType type = ctx.input(2).dtype;
  if (ctx.input(2).count != 2)
    return mismatch("values has shape " + format_dims(ctx.input(2).dims) +
                    ", expected two elements");
  if (depth_view.count != 1 || wide_type(depth_view.dtype) == DataType::kUndefined)
    return mismatch("depth is " + std::string(name(depth_view.dtype)) + " of shape " +
                    format_dims(depth_view.dims) + ", expected one number");
  int64_t depth = 0;
  convert_elements(depth_view.dtype, depth_view.data, DataType::kInt64, &depth, 0, 1);
  if (depth < 0) return mismatch("depth is " + std::to_string(depth));
  ONNXTOOL_ASSIGN(const int64_t axis,
                  resolve_axis(ctx.node().attr_int("axis", -1), index_view.rank() + 1));
  ONNXTOOL_ASSIGN(const ConstView index_values, converted(ctx, index_view, DataType::kInt64));
  ONNXTOOL_ASSIGN(const ConstView values, unpacked(ctx, ctx.input(2)));
  Dims dims = to_dims(index_view.dims);
  dims.insert(dims.begin() + axis, depth);
  ONNXTOOL_ASSIGN(const MovedOutput y, MovedOutput::make(ctx, 0, type, dims));
  if (y.count() == 0) return {};
  const auto* indices = static_cast<const int64_t*>(index_values.data);
  dispatch_movement(values.dtype, [&]<class E>() {
    put_hot(ctx, indices, line_shape(dims, axis), static_cast<const E*>(values.data),
            static_cast<E*>(y.data()));
  });
  y.finish();
  return {};
}

InputUse depth_on_host(const NodeView&, int input) {
  return input == 1 ? InputUse::kHost : InputUse::kData;
}

}  // namespace

constinit const KernelInfo kOneHot{
    .op = "OneHot", .prepare = needs_inputs<3>, .run = one_hot, .use = depth_on_host};

}  // namespace onnxtool
