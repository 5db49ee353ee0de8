// Scatter, ScatterElements, ScatterND: a copy of the data with some elements replaced by, or
// combined with, updates. Updates are applied in order, so a repeated index has one result.

#include <algorithm>

#include "calib/kernels/cpu/indices.h"
#include "calib/kernels/cpu/walk.h"

namespace onnxtool {
namespace {

enum class Reduction { kNone, kAdd, kMul, kMin, kMax };

Result<Reduction> reduction_of(const NodeView& node) {
  const std::string_view name = node.attr_string("reduction", "none");
  if (name == "none") return Reduction::kNone;
  if (name == "add") return Reduction::kAdd;
  if (name == "mul") return Reduction::kMul;
  if (name == "min") return Reduction::kMin;
  if (name == "max") return Reduction::kMax;
  return bad_model("reduction is '" + std::string(name) + "', expected none, add, mul, min or max");
}

template <class T>
T combine(Reduction reduction, T old, T update) {
  // Integer sums and products wrap.
  using U =
      std::conditional_t<std::is_integral_v<T>, std::make_unsigned<T>, std::type_identity<T>>::type;
  switch (reduction) {
    case Reduction::kAdd: return static_cast<T>(static_cast<U>(old) + static_cast<U>(update));
    case Reduction::kMul: return static_cast<T>(static_cast<U>(old) * static_cast<U>(update));
    case Reduction::kMin: return std::min(old, update);
    case Reduction::kMax: return std::max(old, update);
    case Reduction::kNone: break;
  }
  return update;
}

// stretches(place) calls place(first, n, offset) so that updates [first, first + n) go to the
// output elements from `offset` on.
template <class Stretches>
Status scatter_by(KernelContext& ctx, Reduction reduction, const Stretches& stretches) {
  const DataType type = ctx.input(0).dtype;
  const ConstView& update_view = ctx.input(2);
  if (update_view.dtype != type)
    return bad_model("updates have element type " + std::string(name(update_view.dtype)) +
                     ", expected " + std::string(name(type)));
  if (reduction != Reduction::kNone) {
    // Narrow types are widened once, not per element.
    ONNXTOOL_ASSIGN(const ConstView x, widened(ctx, ctx.input(0)));
    ONNXTOOL_ASSIGN(const ConstView updates, widened(ctx, update_view));
    ONNXTOOL_ASSIGN(const WideOutput y, WideOutput::make(ctx, 0, type, x.dims));
    return dispatch(x.dtype, WideTypes{}, "input 0", [&]<class T>() -> Status {
      T* out = y.data<T>();
      std::copy_n(static_cast<const T*>(x.data), x.count, out);
      const T* in = static_cast<const T*>(updates.data);
      stretches([&](int64_t first, int64_t n, int64_t offset) {
        for (int64_t i = 0; i < n; ++i)
          out[offset + i] = combine(reduction, out[offset + i], in[first + i]);
      });
      y.finish(ctx);
      return {};
    });
  }
  const auto move = [&](const ConstView& x, const ConstView& updates, void* data) {
    dispatch_movement(x.dtype, [&]<class E>() {
      E* out = static_cast<E*>(data);
      if (out != x.data) std::copy_n(static_cast<const E*>(x.data), x.count, out);
      const E* in = static_cast<const E*>(updates.data);
      stretches([&](int64_t first, int64_t n, int64_t offset) {
        std::copy_n(in + first, n, out + offset);
      });
    });
  };
  if (is_packed(type)) {
    ONNXTOOL_ASSIGN(const ConstView x, unpacked(ctx, ctx.input(0)));
    ONNXTOOL_ASSIGN(const ConstView updates, unpacked(ctx, update_view));
    ONNXTOOL_ASSIGN(const MovedOutput y, MovedOutput::make(ctx, 0, type, x.dims));
    move(x, updates, y.data());
    y.finish();
    return {};
  }
  const bool shared = ctx.input(0).data == update_view.data;
  ONNXTOOL_ASSIGN(const MutableView y, shared ? ctx.output(0, type, ctx.input(0).dims)
                                              : ctx.output_in_place(0, 0, type, ctx.input(0).dims));
  move(ctx.input(0), update_view, y.data);
  return {};
}

Status scatter_elements(KernelContext& ctx) {
  const std::span<const int64_t> dims = ctx.input(0).dims;
  const ConstView& index_view = ctx.input(1);
  ONNXTOOL_ASSIGN(const Reduction reduction, reduction_of(ctx.node()));
  ONNXTOOL_ASSIGN(const int64_t axis,
                  resolve_axis(ctx.node().attr_int("axis", 0), ctx.input(0).rank()));
  ONNXTOOL_TRY(check_element_indices(dims, index_view.dims, axis));
  if (!std::ranges::equal(index_view.dims, ctx.input(2).dims))
    return mismatch("updates have shape " + format_dims(ctx.input(2).dims) +
                    ", expected that of indices, " + format_dims(index_view.dims));
  const auto a = static_cast<size_t>(axis);
  ONNXTOOL_ASSIGN(const auto indices, checked_indices(ctx, index_view, dims.subspan(a, 1)));
  Walk<1> walk{to_dims(index_view.dims), {contiguous_strides(dims)}};
  const int64_t axis_stride = walk.strides[0][a];
  walk.strides[0][a] = 0;
  const int64_t inner = walk.inner(), step = walk.inner_stride(0);
  return scatter_by(ctx, reduction, [&](const auto& place) {
    if (indices.empty()) return;
    RowWalker<1> rows(walk, 0);
    for (int64_t first = 0; first < static_cast<int64_t>(indices.size());
         first += inner, rows.next())
      for (int64_t i = 0; i < inner; ++i)
        place(first + i, 1,
              rows.offsets[0] + i * step + indices[static_cast<size_t>(first + i)] * axis_stride);
  });
}

Status scatter_nd(KernelContext& ctx) {
  const std::span<const int64_t> dims = ctx.input(0).dims;
  const ConstView& index_view = ctx.input(1);
  ONNXTOOL_ASSIGN(const Reduction reduction, reduction_of(ctx.node()));
  ONNXTOOL_ASSIGN(const TupleShape shape, tuple_shape(dims, index_view.dims, 0));
  ONNXTOOL_ASSIGN(const auto indices, checked_indices(ctx, index_view, shape.extents));
  Dims expected(index_view.dims.begin(), index_view.dims.end() - 1);
  const int64_t tuples = product(expected);
  expected.insert(expected.end(), dims.begin() + shape.depth(), dims.end());
  if (!std::ranges::equal(expected, ctx.input(2).dims))
    return mismatch("updates have shape " + format_dims(ctx.input(2).dims) + ", expected " +
                    format_dims(expected));
  return scatter_by(ctx, reduction, [&](const auto& place) {
    if (ctx.input(2).count == 0) return;
    for (int64_t r = 0; r < tuples; ++r)
      place(r * shape.length, shape.length, shape.offset(indices, r));
  });
}

}  // namespace

constinit const KernelInfo kScatter{
    .op = "Scatter", .prepare = needs_inputs<3>, .run = scatter_elements};
constinit const KernelInfo kScatterElements{
    .op = "ScatterElements", .prepare = needs_inputs<3>, .run = scatter_elements};
constinit const KernelInfo kScatterND{
    .op = "ScatterND", .prepare = needs_inputs<3>, .run = scatter_nd};

}  // namespace onnxtool
