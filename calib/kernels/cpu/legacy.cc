// Experimental operators that the standard dropped in opset 10 and that old files still hold:
//   Affine: alpha * x + beta;  ScaledTanh: alpha * tanh(beta * x)
//   ParametricSoftplus: alpha * log(1 + exp(beta * x));  ImageScaler: x * scale + bias[channel]
//   Crop: the part between the borders (left, top, right, bottom), or of extent `scale` behind them

#include <cmath>

#include "calib/kernels/cpu/elementwise.h"
#include "calib/kernels/cpu/float_io.h"
#include "calib/kernels/cpu/walk.h"

namespace onnxtool {
namespace {

// f(alpha, beta, x) for each element.
template <class F>
Status scaled_unary(KernelContext& ctx, float default_beta, const F& f) {
  const float alpha = ctx.node().attr_float("alpha", 1),
              beta = ctx.node().attr_float("beta", default_beta);
  return map_unary(ctx, WideFloats{}, [=](auto x) {
    using T = decltype(x);
    return f(static_cast<T>(alpha), static_cast<T>(beta), x);
  });
}

Status affine(KernelContext& ctx) {
  return scaled_unary(ctx, 0, [](auto a, auto b, auto x) { return a * x + b; });
}
Status scaled_tanh(KernelContext& ctx) {
  return scaled_unary(ctx, 1, [](auto a, auto b, auto x) { return a * std::tanh(b * x); });
}
Status parametric_softplus(KernelContext& ctx) {
  return scaled_unary(ctx, 1, [](auto a, auto b, auto x) {
    const auto v = b * x;
    return a * (std::max(v, decltype(v){0}) + std::log1p(std::exp(-std::fabs(v))));
  });
}

Status image_scaler(KernelContext& ctx) {
  const ConstView& given = ctx.input(0);
  const std::span<const float> bias = ctx.node().attr_floats("bias");
  const float scale = ctx.node().attr_float("scale", 1);
  if (given.rank() != 4 || static_cast<int64_t>(bias.size()) != given.dims[1])
    return mismatch("input has shape " + format_dims(given.dims) + " and bias " +
                    std::to_string(bias.size()) + " values, expected [N, C, H, W] and C");
  ONNXTOOL_ASSIGN(const ConstView x, widened(ctx, given));
  ONNXTOOL_ASSIGN(const WideOutput y, WideOutput::make(ctx, 0, given.dtype, x.dims));
  if (x.count == 0) return {};
  const int64_t plane = x.dims[2] * x.dims[3];
  return dispatch(x.dtype, WideFloats{}, "input 0", [&]<class T>() -> Status {
    ctx.parallel(x.count / plane, grain_of(plane), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin * plane; i < end * plane; ++i)
        y.data<T>()[i] = static_cast<const T*>(x.data)[i] * static_cast<T>(scale) +
                         static_cast<T>(bias[static_cast<size_t>(i / plane % x.dims[1])]);
    });
    y.finish(ctx);
    return {};
  });
}

Status crop(KernelContext& ctx) {
  const ConstView& x = ctx.input(0);
  const std::span<const int64_t> border = ctx.node().attr_ints("border"),
                                 extents = ctx.node().attr_ints("scale");
  if (x.rank() != 4 || border.size() != 4 || (!extents.empty() && extents.size() != 2))
    return mismatch("input has shape " + format_dims(x.dims) + " and border is " +
                    format_dims(border) + ", expected [N, C, H, W] and four values");
  Dims dims = to_dims(x.dims);
  for (const size_t axis : {size_t{2}, size_t{3}}) {
    const int64_t before = axis == 2 ? border[1] : border[0],
                  after = axis == 2 ? border[3] : border[2], extent = x.dims[axis];
    const bool inside = before >= 0 && after >= 0 && before <= extent && after <= extent;
    dims[axis] = !inside ? -1 : extents.empty() ? extent - before - after : extents[axis - 2];
    if (dims[axis] < 0 || dims[axis] > extent - before)
      return mismatch("border " + format_dims(border) + " and scale " + format_dims(extents) +
                      " do not fit an input of shape " + format_dims(x.dims));
  }
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, x.dtype, dims));
  if (y.count == 0) return {};
  const Dims strides = contiguous_strides(x.dims);
  const int64_t first = border[1] * strides[2] + border[0];
  copy_strided(ctx, x.dtype, at(x, first * (bits_of(x.dtype) / 8)), {dims, {strides}}, y.data);
  return {};
}

}  // namespace

constinit const KernelInfo kAffine{
    .op = "Affine", .types = kFloatDataTypes, .prepare = needs_inputs<1>, .run = affine};
constinit const KernelInfo kScaledTanh{
    .op = "ScaledTanh", .types = kFloatDataTypes, .prepare = needs_inputs<1>, .run = scaled_tanh};
constinit const KernelInfo kParametricSoftplus{.op = "ParametricSoftplus",
                                               .types = kFloatDataTypes,
                                               .prepare = needs_inputs<1>,
                                               .run = parametric_softplus};
constinit const KernelInfo kImageScaler{
    .op = "ImageScaler", .types = kFloatDataTypes, .prepare = needs_inputs<1>, .run = image_scaler};
constinit const KernelInfo kCrop{
    .op = "Crop", .types = kFloatDataTypes, .prepare = needs_inputs<1>, .run = crop};

}  // namespace onnxtool
