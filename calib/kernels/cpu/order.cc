// Operators on lines along one axis that compare or accumulate: ArgMax, ArgMin, TopK, CumSum,
// CumProd.

#include <algorithm>
#include <numeric>

#include "calib/kernels/cpu/convert.h"

namespace onnxtool {
namespace {

#if !defined(ONNXTOOL_DEVICE_KERNELS)  // a device has loops of its own
template <class T, bool max>
bool beats(T candidate, T best) {
  if constexpr (max)
    return candidate > best;
  else
    return candidate < best;
}

template <bool max, class T>
void find_extremes(KernelContext& ctx, const T* in, const LineShape& shape, bool last,
                   int64_t* out) {
  ctx.parallel(shape.outer * shape.inner, grain_of(shape.n), [&](int64_t begin, int64_t end) {
    for (int64_t line = begin; line < end; ++line) {
      const T* values = in + line / shape.inner * shape.n * shape.inner + line % shape.inner;
      int64_t best = 0;
      for (int64_t i = 1; i < shape.n; ++i) {
        const T v = values[i * shape.inner], b = values[best * shape.inner];
        if (beats<T, max>(v, b) || (last ? v == b : v != v && b == b)) best = i;
      }
      out[line] = best;
    }
  });
}

// The k first of each line, their values as `type`.
template <class T>
void find_first(KernelContext& ctx, const T* in, const LineShape& shape, int64_t k, bool largest,
                DataType type, void* values, int64_t* indices) {
  ctx.parallel(shape.outer * shape.inner, grain_of(shape.n), [&](int64_t begin, int64_t end) {
    std::vector<int64_t> order(static_cast<size_t>(shape.n));
    for (int64_t line = begin; line < end; ++line) {
      const T* from = in + line / shape.inner * shape.n * shape.inner + line % shape.inner;
      const auto greater = [](T a, T b) { return a > b || (a != a && b == b); };
      const auto ahead = [&](int64_t a, int64_t b) {
        const T p = from[a * shape.inner], q = from[b * shape.inner];
        if (largest ? greater(p, q) : greater(q, p)) return true;
        if (largest ? greater(q, p) : greater(p, q)) return false;
        return a < b;
      };
      std::iota(order.begin(), order.end(), int64_t{0});
      std::partial_sort(order.begin(), order.begin() + k, order.end(), ahead);
      const int64_t base = line / shape.inner * k * shape.inner + line % shape.inner;
      for (int64_t i = 0; i < k; ++i) {
        const int64_t source = order[static_cast<size_t>(i)];
        indices[base + i * shape.inner] = source;
        store_wide<T>(type, from + source * shape.inner, 1, values, base + i * shape.inner);
      }
    }
  });
}

template <class Op, class T>
void cumulate_lines(KernelContext& ctx, const T* in, const LineShape& shape, bool exclusive,
                    bool reverse, T* out) {
  // Steps of the axis outermost, so that the inner loop is over neighbours.
  ctx.parallel(shape.outer, grain_of(shape.n * shape.inner), [&](int64_t begin, int64_t end) {
    for (int64_t o = begin; o < end; ++o)
      for (int64_t step = 0; step < shape.n; ++step) {
        const int64_t i = reverse ? shape.n - 1 - step : step, previous = reverse ? i + 1 : i - 1;
        const T* now = in + (o * shape.n + i) * shape.inner;
        const T* before_in = in + (o * shape.n + previous) * shape.inner;
        const T* before = out + (o * shape.n + previous) * shape.inner;
        T* to = out + (o * shape.n + i) * shape.inner;
        for (int64_t j = 0; j < shape.inner; ++j) {
          if (step == 0)
            to[j] = exclusive ? T{Op::kStart} : now[j];
          else
            to[j] = Op()(before[j], exclusive ? before_in[j] : now[j]);
        }
      }
  });
}
#endif

// Ties: the first index, or with select_last_index the last. The first NaN is the extreme, as it is
// for numpy and onnxruntime; with select_last_index onnxruntime passes over NaN behind the first
// element, and so does this.
template <bool max>
Status arg_extreme(KernelContext& ctx) {
  ONNXTOOL_ASSIGN(const ConstView x, widened(ctx, ctx.input(0)));
  const NodeView& node = ctx.node();
  ONNXTOOL_ASSIGN(const int64_t axis, resolve_axis(node.attr_int("axis", 0), x.rank()));
  const bool last = node.attr_int("select_last_index", 0) != 0;
  const LineShape shape = line_shape(x.dims, axis);
  Dims dims = to_dims(x.dims);
  if (node.attr_int("keepdims", 1) != 0)
    dims[static_cast<size_t>(axis)] = 1;
  else
    dims.erase(dims.begin() + axis);
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, DataType::kInt64, dims));
  if (y.count == 0) return {};
  if (shape.n == 0) return mismatch("axis " + std::to_string(axis) + " has no elements");
  int64_t* out = y.as<int64_t>().data();
  return dispatch(x.dtype, WideTypes{}, "input 0", [&]<class T>() -> Status {
    find_extremes<max>(ctx, static_cast<const T*>(x.data), shape, last, out);
    return {};
  });
}

// Equal values keep the order of their indices. NaN counts as the greatest value.
Status top_k(KernelContext& ctx) {
  const NodeView& node = ctx.node();
  const DataType type = ctx.input(0).dtype;
  if (is_packed(type)) return unsupported_type(type, "input 0");
  ONNXTOOL_ASSIGN(const ConstView x, widened(ctx, ctx.input(0)));
  ONNXTOOL_ASSIGN(const int64_t axis, resolve_axis(node.attr_int("axis", -1), x.rank()));
  int64_t k = node.attr_int("k", -1);
  if (node.opset() >= 10) {
    ONNXTOOL_TRY(require_inputs(node, {1}));
    ONNXTOOL_ASSIGN(k, integer_scalar(ctx.input(1), "k"));
  }
  const LineShape shape = line_shape(x.dims, axis);
  if (k < 0 || k > shape.n)
    return mismatch("k is " + std::to_string(k) + " for an axis of " + std::to_string(shape.n) +
                    " elements");
  const bool largest = node.attr_int("largest", 1) != 0;
  Dims dims = to_dims(x.dims);
  dims[static_cast<size_t>(axis)] = k;
  ONNXTOOL_ASSIGN(const MutableView values, ctx.output(0, type, dims));
  ONNXTOOL_ASSIGN(const MutableView indices, ctx.output(1, DataType::kInt64, dims));
  if (values.count == 0) return {};
  return dispatch(x.dtype, WideTypes{}, "input 0", [&]<class T>() -> Status {
    find_first(ctx, static_cast<const T*>(x.data), shape, k, largest, type, values.data,
               indices.as<int64_t>().data());
    return {};
  });
}

struct Plus {
  template <class T>
  ONNXTOOL_HD T operator()(T a, T b) const {
    if constexpr (std::is_integral_v<T>)
      return static_cast<T>(std::make_unsigned_t<T>(a) + std::make_unsigned_t<T>(b));
    else
      return a + b;
  }
  static constexpr int kStart = 0;
};
struct Times {
  template <class T>
  ONNXTOOL_HD T operator()(T a, T b) const {
    if constexpr (std::is_integral_v<T>)
      return static_cast<T>(std::make_unsigned_t<T>(a) * std::make_unsigned_t<T>(b));
    else
      return a * b;
  }
  static constexpr int kStart = 1;
};

// Running results, in the element type's arithmetic (16-bit floats in float).
template <class Op>
Status cumulate(KernelContext& ctx) {
  const DataType type = ctx.input(0).dtype;
  if (is_packed(type)) return unsupported_type(type, "input 0");
  ONNXTOOL_ASSIGN(const ConstView x, widened(ctx, ctx.input(0)));
  ONNXTOOL_ASSIGN(const int64_t given_axis, integer_scalar(ctx.input(1), "axis"));
  ONNXTOOL_ASSIGN(const int64_t axis, resolve_axis(given_axis, x.rank()));
  const bool exclusive = ctx.node().attr_int("exclusive", 0) != 0,
             reverse = ctx.node().attr_int("reverse", 0) != 0;
  const LineShape shape = line_shape(x.dims, axis);
  ONNXTOOL_ASSIGN(const WideOutput y, WideOutput::make(ctx, 0, type, x.dims));
  if (y.count() == 0) return {};
  return dispatch(x.dtype, WideTypes{}, "input 0", [&]<class T>() -> Status {
    cumulate_lines<Op>(ctx, static_cast<const T*>(x.data), shape, exclusive, reverse, y.data<T>());
    y.finish(ctx);
    return {};
  });
}

// A device looks through a line once for each that it takes.
bool takes_few(const NodeView& node) {
  if (!kDeviceKernels) return true;
  constexpr int64_t kFew = 256;
  const ConstView* k = node.has_input(1) ? node.constant(1) : nullptr;
  if (node.opset() >= 10)
    return k && k->dtype == DataType::kInt64 && k->count == 1 && k->as<int64_t>()[0] <= kFew;
  return node.attr_int("k", -1) <= kFew;
}

}  // namespace

constinit const KernelInfo kArgMax{
    .op = "ArgMax", .prepare = needs_inputs<1>, .run = arg_extreme<true>};
constinit const KernelInfo kArgMin{
    .op = "ArgMin", .prepare = needs_inputs<1>, .run = arg_extreme<false>};
constinit const KernelInfo kTopK{.op = "TopK",
                                 .prepare = needs_inputs<1>,
                                 .run = top_k,
                                 .accepts = takes_few,
                                 .use = parameters_on_host};
constinit const KernelInfo kCumSum{
    .op = "CumSum", .prepare = needs_inputs<2>, .run = cumulate<Plus>, .use = parameters_on_host};
constinit const KernelInfo kCumProd{
    .op = "CumProd", .prepare = needs_inputs<2>, .run = cumulate<Times>, .use = parameters_on_host};

}  // namespace onnxtool
