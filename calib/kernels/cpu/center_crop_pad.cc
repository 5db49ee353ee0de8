// CenterCropPad-18: the middle of the input where an axis shrinks, the input in the middle of zeros
// (or empty strings) where it grows. An odd difference leaves the larger part at the end.

#include "calib/kernels/cpu/convert.h"
#include "calib/kernels/cpu/walk.h"

namespace onnxtool {
namespace {

// The part of the input that is seen, and where it goes.
struct Placement {
  Dims out, copied;
  int64_t from = 0, to = 0;  // offsets of its first element
};

Result<Placement> place(const KernelContext& ctx) {
  const ConstView& x = ctx.input(0);
  ONNXTOOL_ASSIGN(const Dims shape, integer_values(ctx.input(1), "shape"));
  Dims axes = to_dims(ctx.node().attr_ints("axes"));
  if (!ctx.node().has_attribute("axes"))
    for (int64_t i = 0; i < x.rank(); ++i) axes.push_back(i);
  ONNXTOOL_ASSIGN(axes, resolve_axes(axes, x.rank(), "axes"));
  if (shape.size() != axes.size())
    return mismatch("shape has " + std::to_string(shape.size()) + " elements, expected one for " +
                    "each of " + std::to_string(axes.size()) + " axes");
  Placement p{to_dims(x.dims), to_dims(x.dims)};
  Dims from(x.dims.size()), to = from;
  for (size_t i = 0; i < axes.size(); ++i) {
    const auto a = static_cast<size_t>(axes[i]);
    const int64_t in = x.dims[a], out = shape[i];
    if (out < 0) return mismatch("shape is " + format_dims(shape) + ", with a negative extent");
    p.out[a] = out;
    p.copied[a] = std::min(in, out);
    from[a] = std::max<int64_t>(in - out, 0) / 2;
    to[a] = std::max<int64_t>(out - in, 0) / 2;
  }
  if (!checked_product(p.out)) return mismatch("shape " + format_dims(shape) + " is too large");
  const Dims in_strides = contiguous_strides(x.dims), out_strides = contiguous_strides(p.out);
  for (size_t a = 0; a < from.size(); ++a) {
    p.from += from[a] * in_strides[a];
    p.to += to[a] * out_strides[a];
  }
  return p;
}

Status run(KernelContext& ctx) {
  ONNXTOOL_ASSIGN(const Placement p, place(ctx));
  ONNXTOOL_ASSIGN(const ConstView x, unpacked(ctx, ctx.input(0)));
  ONNXTOOL_ASSIGN(const MovedOutput y, MovedOutput::make(ctx, 0, ctx.input(0).dtype, p.out));
  if (y.count() == 0) return {};
  Walk<2> walk{p.copied, {contiguous_strides(x.dims), contiguous_strides(p.out)}};
  walk.coalesce();
  const int64_t copied = product(p.copied);
  dispatch_movement(x.dtype, [&]<class E>() {
    const E* from = static_cast<const E*>(x.data) + p.from;
    E* to = static_cast<E*>(y.data());
    ctx.parallel(y.count(), kGrain,
                 [&](int64_t begin, int64_t end) { std::fill(to + begin, to + end, E{}); });
    to += p.to;
    const int64_t in_step = walk.inner_stride(0), out_step = walk.inner_stride(1);
    parallel_walk<2>(ctx, walk, copied, kGrain,
                     [&](int64_t, int64_t n, const std::array<int64_t, 2>& at) {
                       for (int64_t i = 0; i < n; ++i)
                         to[at[1] + i * out_step] = from[at[0] + i * in_step];
                     });
  });
  y.finish();
  return {};
}

}  // namespace

constinit const KernelInfo kCenterCropPad{
    .op = "CenterCropPad", .prepare = needs_inputs<2>, .run = run};

}  // namespace onnxtool
