// Resize-10, 11, 13, 18, 19 and Upsample-1, 7, 9, 10.
//
// An output position maps to a point of the input, axis by axis; nearest takes one element, linear
// and cubic a weighted sum of its neighbours, with the edge repeated beyond it. The sum is
// separable: one pass for each axis that changes, last axis first. Nearest moves any element type;
// the others compute in float (f32, f16, bf16) or double (f64 and integers, which round half to
// even and saturate).

#include <algorithm>
#include <cmath>
#include <cstring>

#include "calib/kernels/cpu/float_io.h"
#include "calib/kernels/cpu/resize_node.h"
#include "calib/kernels/cpu/walk.h"

namespace onnxtool {
namespace {

/// A resize of memory: its axes in the order of memory, which may be channels last.
struct Resizing {
  Dims in, out;
  std::vector<ResizeExtent> extents;
  std::vector<ResizeAxis> axes;
  std::vector<size_t> order;  // of the passes: the model's last axis first
};
Resizing in_memory(Layout layout, std::vector<ResizeExtent> extents, const ResizeOptions& options) {
  Resizing r;
  r.extents = std::move(extents);
  const size_t rank = r.extents.size();
  for (size_t i = rank; i-- > 0;)
    r.order.push_back(layout == Layout::kPlain || i == 0 ? i : i == 1 ? rank - 1 : i - 1);
  if (layout != Layout::kPlain)
    std::rotate(r.extents.begin() + 1, r.extents.begin() + 2, r.extents.end());
  for (const ResizeExtent& e : r.extents) {
    r.in.push_back(e.in);
    r.out.push_back(e.out);
    r.axes.push_back(e.identity() && options.mode != ResizeMode::kNearest
                         ? ResizeAxis{}
                         : resize_axis(e, options));
  }
  return r;
}

/// y[o...] = x[index(o)...] for all axes at once; rows of the last axis that repeat are copied.
template <class E>
void take_nearest(KernelContext& ctx, const Resizing& r, const E* x, E* y) {
  const Dims strides = contiguous_strides(r.in);
  const size_t last = r.out.size() - 1;
  const int64_t inner = r.out[last], rows = product(r.out, 0, last);
  const Dims& columns = r.axes[last].indices;
  const bool whole = r.extents[last].identity();
  ctx.parallel(rows, grain_of(inner), [&](int64_t begin, int64_t end) {
    Dims at(last);
    for (size_t i = last, row = static_cast<size_t>(begin); i-- > 0;) {
      at[i] = static_cast<int64_t>(row) % r.out[i];
      row /= static_cast<size_t>(r.out[i]);
    }
    int64_t previous = -1;
    for (int64_t row = begin; row < end; ++row) {
      int64_t from = 0;
      for (size_t i = 0; i < last; ++i)
        from += r.axes[i].indices[static_cast<size_t>(at[i])] * strides[i];
      E* to = y + row * inner;
      if (whole)
        std::copy_n(x + from, inner, to);
      else if (from == previous)
        std::copy_n(to - inner, inner, to);
      else
        for (int64_t i = 0; i < inner; ++i) to[i] = x[from + columns[static_cast<size_t>(i)]];
      previous = from;
      for (size_t i = last; i-- > 0 && ++at[i] == r.out[i];) at[i] = 0;
    }
  });
}

/// to[i] = sum over t of weights[t] * from[t][i].
template <class T>
void weighted_rows(const T* const* from, const T* weights, int64_t taps, int64_t n, T* to) {
  constexpr int kLanes = 32 / sizeof(T);
  typedef T Vector __attribute__((vector_size(32), aligned(alignof(T)), may_alias));
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    Vector sum = weights[0] * *reinterpret_cast<const Vector*>(from[0] + i);
    for (int64_t t = 1; t < taps; ++t)
      sum += weights[t] * *reinterpret_cast<const Vector*>(from[t] + i);
    *reinterpret_cast<Vector*>(to + i) = sum;
  }
  for (; i < n; ++i) {
    T sum = weights[0] * from[0][i];
    for (int64_t t = 1; t < taps; ++t) sum += weights[t] * from[t][i];
    to[i] = sum;
  }
}

/// One pass: x [outer, in, inner] to y [outer, out, inner].
template <class T>
void resize_pass(KernelContext& ctx, const ResizeAxis& axis, const T* x, int64_t outer, int64_t in,
                 int64_t out, int64_t inner, T* y) {
  const std::vector<T> weights(axis.weights.begin(), axis.weights.end());
  const int64_t taps = axis.taps;
  ctx.parallel(outer * out, grain_of(inner * taps), [&](int64_t begin, int64_t end) {
    std::vector<const T*> from(static_cast<size_t>(taps));
    for (int64_t row = begin; row < end; ++row) {
      const int64_t line = row / out, position = row - line * out;
      const T* base = x + line * in * inner;
      const int64_t* indices = &axis.indices[static_cast<size_t>(position * taps)];
      const T* w = &weights[static_cast<size_t>(position * taps)];
      if (inner == 1) {
        T sum = w[0] * base[indices[0]];
        for (int64_t t = 1; t < taps; ++t) sum += w[t] * base[indices[t]];
        y[row] = sum;
        continue;
      }
      for (int64_t t = 0; t < taps; ++t) from[static_cast<size_t>(t)] = base + indices[t] * inner;
      weighted_rows(from.data(), w, taps, inner, y + row * inner);
    }
  });
}

/// Positions that any axis marks as outside get the extrapolation value.
template <class T>
void fill_outside(const std::vector<ResizeAxis>& axes, std::span<const int64_t> dims, T value,
                  T* y) {
  const int64_t count = product(dims);
  for (size_t i = 0; i < axes.size(); ++i) {
    if (axes[i].outside.empty()) continue;
    const LineShape s = line_shape(dims, static_cast<int64_t>(i));
    for (int64_t row = 0; row < count / s.inner; ++row)
      if (axes[i].outside[static_cast<size_t>(row % s.n)])
        std::fill_n(y + row * s.inner, s.inner, value);
  }
}

template <class T>
Status interpolate(KernelContext& ctx, const ResizeState& state, const Resizing& r, const T* x,
                   T* y) {
  Dims dims = r.in;
  const T* from = x;
  size_t remaining = 0;
  for (const ResizeExtent& e : r.extents) remaining += e.identity() ? 0 : 1;
  if (remaining == 0) std::copy_n(x, product(r.in), y);
  for (const size_t i : r.order) {
    const ResizeExtent& e = r.extents[i];
    if (e.identity()) continue;
    const int64_t outer = product(dims, 0, i), inner = product(dims, i + 1, dims.size());
    T* to = y;
    if (--remaining > 0) {
      const auto bytes = checked_product(Dims{outer, e.out, inner, int64_t{sizeof(T)}});
      if (!bytes) return kernel_error(ErrorCode::kLimit, "an intermediate result overflows");
      ONNXTOOL_ASSIGN(void* scratch, ctx.scratch(static_cast<size_t>(*bytes)));
      to = static_cast<T*>(scratch);
    }
    resize_pass(ctx, r.axes[i], from, outer, e.in, e.out, inner, to);
    dims[i] = e.out;
    from = to;
  }
  fill_outside(r.axes, r.out, static_cast<T>(state.extrapolation), y);
  return {};
}

/// Integers: in double, rounded half to even and saturated to the element type's range.
Status interpolate_integers(KernelContext& ctx, const ResizeState& state, const Resizing& r,
                            const MutableView& y) {
  const ConstView& x = ctx.input(0);
  ONNXTOOL_ASSIGN(const ConstView wide, widened(ctx, x));
  return dispatch(
      wide.dtype, TypeList<int32_t, int64_t, uint64_t>{}, "the input", [&]<class W>() -> Status {
        ONNXTOOL_ASSIGN(void* in, ctx.scratch(static_cast<size_t>(x.count) * sizeof(double)));
        ONNXTOOL_ASSIGN(void* out, ctx.scratch(static_cast<size_t>(y.count) * sizeof(double)));
        auto *doubles = static_cast<double*>(in), *results = static_cast<double*>(out);
        for (int64_t i = 0; i < x.count; ++i)
          doubles[i] = static_cast<double>(static_cast<const W*>(wide.data)[i]);
        ONNXTOOL_TRY(interpolate<double>(ctx, state, r, doubles, results));
        const int bits = bits_of(x.dtype);
        const bool is_unsigned = x.dtype == DataType::kUint8 || x.dtype == DataType::kUint16 ||
                                 x.dtype == DataType::kUint32 || x.dtype == DataType::kUint64;
        const double high =
            x.dtype == DataType::kBool ? 1 : std::ldexp(1.0, is_unsigned ? bits : bits - 1) - 1;
        const double low =
            is_unsigned || x.dtype == DataType::kBool ? 0 : -std::ldexp(1.0, bits - 1);
        for (int64_t i = 0; i < y.count; ++i) {
          const double rounded = std::nearbyint(results[i]);
          W value{};
          if (rounded >= high)
            value = bits == 64 ? std::numeric_limits<W>::max() : static_cast<W>(high);
          else if (rounded > low)
            value = static_cast<W>(rounded);
          else
            value = static_cast<W>(low);
          store_wide<W>(x.dtype, &value, 1, y.data, i);
        }
        return {};
      });
}

Status run_nearest(KernelContext& ctx, const ResizeState& state, const Resizing& r,
                   const MutableView& y) {
  const ConstView& x = ctx.input(0);
  dispatch_movement(x.dtype, [&]<class E>() {
    take_nearest(ctx, r, static_cast<const E*>(x.data), static_cast<E*>(y.data));
  });
  if (state.options.coordinates != ResizeCoordinates::kTfCropAndResize) return {};
  const DataType wide = wide_type(x.dtype);
  return dispatch(wide, WideTypes{}, "the input", [&]<class W>() -> Status {
    W value{};
    if constexpr (std::is_floating_point_v<W>)
      value = static_cast<W>(state.extrapolation);
    else
      value = static_cast<W>(to_int64(state.extrapolation));
    std::byte element[16];
    store_wide<W>(x.dtype, &value, 1, element, 0);
    return dispatch_movement(x.dtype, [&]<class E>() -> Status {
      if constexpr (!std::is_same_v<E, std::string>) {
        E filler;
        std::memcpy(&filler, element, sizeof filler);
        fill_outside(r.axes, r.out, filler, static_cast<E*>(y.data));
      }
      return {};
    });
  });
}

Status run(KernelContext& ctx) {
  const auto& state = static_cast<const ResizeState&>(*ctx.state());
  const ConstView& x = ctx.input(0);
  if (bits_of(x.dtype) > 0 && bits_of(x.dtype) < 8) return unsupported_type(x.dtype, "the input");
  ONNXTOOL_ASSIGN(std::vector<ResizeExtent> extents, resize_extents(ctx, state));
  Dims dims;
  for (const ResizeExtent& e : extents) dims.push_back(e.out);
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, x.dtype, dims, x.layout));
  if (y.count == 0) return {};
  if (dims.empty()) return mismatch("the input is a scalar, which has no axis to resize");
  const Resizing r = in_memory(x.layout, std::move(extents), state.options);
  if (state.options.mode == ResizeMode::kNearest) return run_nearest(ctx, state, r, y);
  if (!is_float(x.dtype)) return interpolate_integers(ctx, state, r, y);
  return dispatch_float(x.dtype, [&]<class T>() -> Status {
    ONNXTOOL_ASSIGN(const T* data, float_input<T>(ctx, 0, x.dtype, "input"));
    ONNXTOOL_ASSIGN(const FloatOutput<T> out, FloatOutput<T>::make(ctx, y));
    ONNXTOOL_TRY(interpolate<T>(ctx, state, r, data, out.data));
    out.store(ctx);
    return {};
  });
}

bool takes_channels_last(int input, Layout layout) {
  return input == 0 && layout == Layout::kChannelsLast;
}

}  // namespace

constinit const KernelInfo kResize{.op = "Resize",
                                   .since = 10,
                                   .prepare = prepare_resize,
                                   .run = run,
                                   .takes_layout = takes_channels_last};
constinit const KernelInfo kUpsample{.op = "Upsample",
                                     .until = 10,
                                     .prepare = prepare_resize,
                                     .run = run,
                                     .takes_layout = takes_channels_last};

}  // namespace onnxtool
