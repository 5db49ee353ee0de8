// Cast and CastLike between the types of a device; conversion as convert_one() has it.

#include "calib/kernels/cuda/elements.h"

namespace onnxtool {

void device_convert(DataType from, const void* in, DataType to, void* out, int64_t count);

namespace {

Status cast_to(KernelContext& ctx, DataType to) {
  const ConstView& x = ctx.input(0);
  if (x.dtype == to) return ctx.output_view(0, 0, x.dims);
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, to, x.dims));
  device_convert(x.dtype, x.data, to, y.data, y.count);
  return {};
}

DataType target(const NodeView& node) { return static_cast<DataType>(node.attr_int("to", 0)); }

Status cast(KernelContext& ctx) { return cast_to(ctx, target(ctx.node())); }
Status cast_like(KernelContext& ctx) { return cast_to(ctx, ctx.input(1).dtype); }

bool casts(const NodeView& node) { return device::is_device_type(target(node)); }
InputUse like(const NodeView&, int input) { return input == 0 ? InputUse::kData : InputUse::kDims; }

}  // namespace

constinit const KernelInfo kCast{
    .op = "Cast", .prepare = needs_inputs<1>, .run = cast, .accepts = casts};
constinit const KernelInfo kCastLike{
    .op = "CastLike", .prepare = needs_inputs<2>, .run = cast_like, .use = like};

}  // namespace onnxtool
