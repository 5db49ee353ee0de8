// Resize and Upsample on a device. Positions and weights of each axis are the host's own tables
// (cpu/resize_axis.cc), sent along; passes go through the axes in the host's order, last one first.
// Left to the host: weighted sums of integers, and tf_crop_and_resize.

#include "calib/kernels/cpu/float_io.h"
#include "calib/kernels/cpu/resize_node.h"
#include "calib/kernels/cuda/elements.h"

namespace onnxtool {
namespace {

using device::kMostAxes;

// y[o...] = x[from(o)...] for all axes at once.
template <class E>
struct NearestElements {
  const E* x;
  E* y;
  int rank;
  int64_t extents[kMostAxes], strides[kMostAxes];
  const int64_t* from[kMostAxes];  // nullptr: as it is
  ONNXTOOL_HD void operator()(int64_t i) const {
    int64_t at = 0, left = i;
    for (int a = rank - 1; a >= 0; --a) {
      const int64_t o = left % extents[a];
      left /= extents[a];
      at += (from[a] ? from[a][o] : o) * strides[a];
    }
    y[i] = x[at];
  }
};

// One pass: x [outer, in, inner] to y [outer, out, inner].
template <class T>
struct WeighElements {
  DataType x_type, y_type;  // of T, or narrower ones that widen to it
  const void* x;
  void* y;
  const int64_t* indices;
  const T* weights;
  int64_t taps, in, out, inner;
  ONNXTOOL_HD void operator()(int64_t i) const {
    const int64_t row = i / inner, o = row % out;
    const int64_t base = row / out * in * inner + i % inner;
    const int64_t* at = indices + o * taps;
    const T* w = weights + o * taps;
    T sum = w[0] * device::load<T>(x_type, x, base + at[0] * inner);
    for (int64_t t = 1; t < taps; ++t)
      sum += w[t] * device::load<T>(x_type, x, base + at[t] * inner);
    device::store<T>(y_type, y, i, sum);
  }
};

// A copy on the device, for the rest of this run().
template <class T>
Result<const T*> sent(KernelContext& ctx, const std::vector<T>& values) {
  const size_t size = values.size() * sizeof(T);
  ONNXTOOL_ASSIGN(void* to, ctx.scratch(size));
  device::upload(to, values.data(), size);
  return static_cast<const T*>(to);
}

template <class E>
Status take_nearest(KernelContext& ctx, std::span<const ResizeExtent> extents,
                    const ResizeOptions& options, const MutableView& y) {
  const ConstView& x = ctx.input(0);
  const Dims strides = contiguous_strides(x.dims);
  NearestElements<E> work{static_cast<const E*>(x.data),
                          static_cast<E*>(y.data),
                          static_cast<int>(extents.size()),
                          {},
                          {},
                          {}};
  for (size_t a = 0; a < extents.size(); ++a) {
    work.extents[a] = extents[a].out;
    work.strides[a] = strides[a];
    if (extents[a].identity()) continue;
    ONNXTOOL_ASSIGN(work.from[a], sent<int64_t>(ctx, resize_axis(extents[a], options).indices));
  }
  device::for_each_index(y.count, work);
  return {};
}

template <class T>
Status interpolate(KernelContext& ctx, std::span<const ResizeExtent> extents,
                   const ResizeOptions& options, const MutableView& y) {
  const ConstView& x = ctx.input(0);
  Dims dims = to_dims(x.dims);
  DataType type = x.dtype;
  const void* from = x.data;
  size_t remaining = 0;
  for (const ResizeExtent& e : extents) remaining += e.identity() ? 0 : 1;
  if (remaining == 0)
    device::copy_bytes(y.data, x.data, size_bytes_of(x.dtype, static_cast<uint64_t>(x.count)));
  for (size_t a = extents.size(); a-- > 0;) {
    const ResizeExtent& e = extents[a];
    if (e.identity()) continue;
    const int64_t outer = product(dims, 0, a), inner = product(dims, a + 1, dims.size());
    const bool last = --remaining == 0;
    void* to = y.data;
    if (!last) {
      const auto bytes = checked_product(Dims{outer, e.out, inner, int64_t{sizeof(T)}});
      if (!bytes) return kernel_error(ErrorCode::kLimit, "an intermediate result overflows");
      ONNXTOOL_ASSIGN(to, ctx.scratch(static_cast<size_t>(*bytes)));
    }
    const ResizeAxis axis = resize_axis(e, options);
    ONNXTOOL_ASSIGN(const int64_t* indices, sent<int64_t>(ctx, axis.indices));
    ONNXTOOL_ASSIGN(const T* weights,
                    sent(ctx, std::vector<T>(axis.weights.begin(), axis.weights.end())));
    const DataType result = last ? y.dtype : dtype_of<T>;
    device::for_each_index(
        outer * e.out * inner,
        WeighElements<T>{type, result, from, to, indices, weights, axis.taps, e.in, e.out, inner});
    dims[a] = e.out;
    from = to;
    type = result;
  }
  return {};
}

Status run(KernelContext& ctx) {
  const auto& state = static_cast<const ResizeState&>(*ctx.state());
  const ConstView& x = ctx.input(0);
  ONNXTOOL_ASSIGN(const std::vector<ResizeExtent> extents, resize_extents(ctx, state));
  Dims dims;
  for (const ResizeExtent& e : extents) dims.push_back(e.out);
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, x.dtype, dims));
  if (y.count == 0) return {};
  if (dims.empty()) return mismatch("the input is a scalar, which has no axis to resize");
  if (dims.size() > kMostAxes)
    return kernel_error(
        ErrorCode::kUnsupported,
        "a shape of more than " + std::to_string(kMostAxes) + " axes is not supported on a device");
  if (state.options.mode != ResizeMode::kNearest)
    return dispatch_float(x.dtype, [&]<class T>() -> Status {
      return interpolate<T>(ctx, extents, state.options, y);
    });
  switch (bits_of(x.dtype)) {
    case 16: return take_nearest<uint16_t>(ctx, extents, state.options, y);
    case 32: return take_nearest<uint32_t>(ctx, extents, state.options, y);
    case 64: return take_nearest<uint64_t>(ctx, extents, state.options, y);
    default: return take_nearest<uint8_t>(ctx, extents, state.options, y);
  }
}

bool resizes(const NodeView& node) {
  if (node.attr_string("coordinate_transformation_mode", "") == "tf_crop_and_resize") return false;
  return node.attr_string("mode", "nearest") == "nearest" || is_float(node.input_dtype(0));
}

}  // namespace

constinit const KernelInfo kResize{.op = "Resize",
                                   .since = 10,
                                   .prepare = prepare_resize,
                                   .run = run,
                                   .accepts = resizes,
                                   .use = parameters_on_host};
constinit const KernelInfo kUpsample{.op = "Upsample",
                                     .until = 10,
                                     .prepare = prepare_resize,
                                     .run = run,
                                     .accepts = resizes,
                                     .use = parameters_on_host};

}  // namespace onnxtool
