// Gather, GatherElements, GatherND and the Scatter operators on a device. Indices are looked at on
// the host, where they are checked, and go back as offsets.
//
// Updates that fall on one element are applied in their order by one thread: ScatterElements has a
// thread for each line along the axis, ScatterND one for each place within a block. So results do
// not depend on timing, at the price of little parallelism where a block is one element.

#include <algorithm>

#include "calib/kernels/cpu/indices.h"
#include "calib/kernels/cuda/elements.h"

namespace onnxtool {
namespace {

// f.operator()<E>() for the unsigned integer of the element's size.
template <class F>
void dispatch_size(DataType type, F&& f) {
  switch (bits_of(type)) {
    case 16: return f.template operator()<uint16_t>();
    case 32: return f.template operator()<uint32_t>();
    case 64: return f.template operator()<uint64_t>();
    default: return f.template operator()<uint8_t>();
  }
}

Result<Dims> host_indices(const ConstView& view, std::span<const int64_t> extents) {
  Dims out(static_cast<size_t>(view.count));
  ONNXTOOL_TRY(read_indices(view, extents, out));
  return out;
}

// A copy on the device, for the rest of this run().
Result<const int64_t*> on_device(KernelContext& ctx, const Dims& values) {
  const size_t size = values.size() * sizeof(int64_t);
  ONNXTOOL_ASSIGN(void* to, ctx.scratch(size));
  device::upload(to, values.data(), size);
  return static_cast<const int64_t*>(to);
}

// Blocks of `length`: y[r] = x[offsets[r]].
template <class E>
struct GatherBlocks {
  const E* x;
  E* y;
  const int64_t* offsets;
  int64_t length;
  ONNXTOOL_HD void operator()(int64_t i) const { y[i] = x[offsets[i / length] + i % length]; }
};

Status gather_blocks(KernelContext& ctx, const Dims& offsets, int64_t length,
                     std::span<const int64_t> dims) {
  const ConstView& x = ctx.input(0);
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, x.dtype, dims));
  if (y.count == 0) return {};
  ONNXTOOL_ASSIGN(const int64_t* at, on_device(ctx, offsets));
  dispatch_size(x.dtype, [&]<class E>() {
    device::for_each_index(y.count, GatherBlocks<E>{static_cast<const E*>(x.data),
                                                    static_cast<E*>(y.data), at, length});
  });
  return {};
}

// [outer, n, inner] by indices along n.
template <class E>
struct GatherAxis {
  const E* x;
  E* y;
  const int64_t* indices;
  int64_t n, inner, count;  // count: of indices
  ONNXTOOL_HD void operator()(int64_t i) const {
    const int64_t row = i / inner;
    y[i] = x[(row / count * n + indices[row % count]) * inner + i % inner];
  }
};

Status gather(KernelContext& ctx) {
  const ConstView &x = ctx.input(0), &index_view = ctx.input(1);
  ONNXTOOL_ASSIGN(const int64_t axis, resolve_axis(ctx.node().attr_int("axis", 0), x.rank()));
  const LineShape shape = line_shape(x.dims, axis);
  ONNXTOOL_ASSIGN(const Dims indices, host_indices(index_view, std::span(&shape.n, 1)));
  Dims dims(x.dims.begin(), x.dims.begin() + axis);
  dims.insert(dims.end(), index_view.dims.begin(), index_view.dims.end());
  dims.insert(dims.end(), x.dims.begin() + axis + 1, x.dims.end());
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, x.dtype, dims));
  if (y.count == 0) return {};
  ONNXTOOL_ASSIGN(const int64_t* at, on_device(ctx, indices));
  dispatch_size(x.dtype, [&]<class E>() {
    device::for_each_index(
        y.count, GatherAxis<E>{static_cast<const E*>(x.data), static_cast<E*>(y.data), at, shape.n,
                               shape.inner, static_cast<int64_t>(indices.size())});
  });
  return {};
}

// Where each element of an index tensor points, along `axis` of data.
Result<Dims> element_offsets(const ConstView& data, const ConstView& index_view, int64_t axis) {
  ONNXTOOL_TRY(check_element_indices(data.dims, index_view.dims, axis));
  const auto a = static_cast<size_t>(axis);
  ONNXTOOL_ASSIGN(Dims offsets, host_indices(index_view, data.dims.subspan(a, 1)));
  Walk<1> walk{to_dims(index_view.dims), {contiguous_strides(data.dims)}};
  const int64_t axis_stride = walk.strides[0][a];
  walk.strides[0][a] = 0;
  const int64_t inner = walk.inner(), step = walk.inner_stride(0);
  if (offsets.empty()) return offsets;
  RowWalker<1> rows(walk, 0);
  for (size_t first = 0; first < offsets.size(); first += static_cast<size_t>(inner), rows.next())
    for (int64_t i = 0; i < inner; ++i) {
      int64_t& at = offsets[first + static_cast<size_t>(i)];
      at = rows.offsets[0] + i * step + at * axis_stride;
    }
  return offsets;
}

Status gather_elements(KernelContext& ctx) {
  const ConstView &x = ctx.input(0), &index_view = ctx.input(1);
  ONNXTOOL_ASSIGN(const int64_t axis, resolve_axis(ctx.node().attr_int("axis", 0), x.rank()));
  ONNXTOOL_ASSIGN(const Dims offsets, element_offsets(x, index_view, axis));
  return gather_blocks(ctx, offsets, 1, index_view.dims);
}

Status gather_nd(KernelContext& ctx) {
  const ConstView &x = ctx.input(0), &index_view = ctx.input(1);
  const int64_t batch_dims = ctx.node().attr_int("batch_dims", 0);
  ONNXTOOL_ASSIGN(const TupleShape shape, tuple_shape(x.dims, index_view.dims, batch_dims));
  ONNXTOOL_ASSIGN(const Dims indices, host_indices(index_view, shape.extents));
  Dims dims(index_view.dims.begin(), index_view.dims.end() - 1);
  dims.insert(dims.end(), x.dims.begin() + batch_dims + shape.depth(), x.dims.end());
  const int64_t tuples = product(index_view.dims, 0, index_view.dims.size() - 1);
  const int64_t batches = product(index_view.dims, 0, static_cast<size_t>(batch_dims));
  Dims offsets;
  for (int64_t r = 0; r < tuples; ++r)
    offsets.push_back(r / (tuples / batches) * shape.batch_stride + shape.offset(indices, r));
  return gather_blocks(ctx, offsets, shape.length, dims);
}

enum class Reduction { kNone, kAdd, kMul, kMin, kMax };
Reduction reduction_of(const NodeView& node) {
  const std::string_view name = node.attr_string("reduction", "none");
  return name == "add"   ? Reduction::kAdd
         : name == "mul" ? Reduction::kMul
         : name == "min" ? Reduction::kMin
         : name == "max" ? Reduction::kMax
                         : Reduction::kNone;
}

template <class T>
ONNXTOOL_HD T combine(Reduction reduction, T old, T update) {
  // Integer sums and products wrap.
  using U = typename std::conditional_t<std::is_integral_v<T>, std::make_unsigned<T>,
                                        std::type_identity<T>>::type;
  switch (reduction) {
    case Reduction::kAdd: return static_cast<T>(static_cast<U>(old) + static_cast<U>(update));
    case Reduction::kMul: return static_cast<T>(static_cast<U>(old) * static_cast<U>(update));
    case Reduction::kMin: return update < old ? update : old;
    case Reduction::kMax: return old < update ? update : old;
    case Reduction::kNone: break;
  }
  return update;
}

// Updates [outer, n, inner, length] to y at offsets [outer, n, inner] + place. Only updates of one
// line along n may meet: one thread takes them, in order.
template <class T>
struct ScatterPlaces {
  Reduction reduction;
  const T* updates;
  T* y;
  const int64_t* offsets;
  int64_t n, inner, length;
  ONNXTOOL_HD void operator()(int64_t i) const {
    const int64_t line = i / length, place = i % length;
    const int64_t first = line / inner * n * inner + line % inner;
    for (int64_t j = 0; j < n; ++j) {
      const int64_t r = first + j * inner;
      T& to = y[offsets[r] + place];
      to = combine(reduction, to, updates[r * length + place]);
    }
  }
};

Status scatter(KernelContext& ctx, const Dims& offsets, const LineShape& lines, int64_t length) {
  const DataType type = ctx.input(0).dtype;
  if (ctx.input(2).dtype != type)
    return bad_model("updates have element type " + std::string(name(ctx.input(2).dtype)) +
                     ", expected " + std::string(name(type)));
  const Reduction reduction = reduction_of(ctx.node());
  ONNXTOOL_ASSIGN(const ConstView x, widened(ctx, ctx.input(0)));
  ONNXTOOL_ASSIGN(const ConstView updates, widened(ctx, ctx.input(2)));
  ONNXTOOL_ASSIGN(const WideOutput y, WideOutput::make(ctx, 0, type, x.dims));
  ONNXTOOL_ASSIGN(const int64_t* at, on_device(ctx, offsets));
  return dispatch(x.dtype, WideTypes{}, "input 0", [&]<class T>() -> Status {
    device::copy_bytes(y.data<T>(), x.data, static_cast<size_t>(x.count) * sizeof(T));
    if (!offsets.empty())
      device::for_each_index(lines.outer * lines.inner * length,
                             ScatterPlaces<T>{reduction, static_cast<const T*>(updates.data),
                                              y.data<T>(), at, lines.n, lines.inner, length});
    y.finish(ctx);
    return {};
  });
}

Status scatter_elements(KernelContext& ctx) {
  const ConstView &x = ctx.input(0), &index_view = ctx.input(1);
  ONNXTOOL_ASSIGN(const int64_t axis, resolve_axis(ctx.node().attr_int("axis", 0), x.rank()));
  if (!std::ranges::equal(index_view.dims, ctx.input(2).dims))
    return mismatch("updates have shape " + format_dims(ctx.input(2).dims) +
                    ", expected that of indices, " + format_dims(index_view.dims));
  ONNXTOOL_ASSIGN(const Dims offsets, element_offsets(x, index_view, axis));
  return scatter(ctx, offsets, line_shape(index_view.dims, axis), 1);
}

Status scatter_nd(KernelContext& ctx) {
  const ConstView &x = ctx.input(0), &index_view = ctx.input(1);
  ONNXTOOL_ASSIGN(const TupleShape shape, tuple_shape(x.dims, index_view.dims, 0));
  ONNXTOOL_ASSIGN(const Dims indices, host_indices(index_view, shape.extents));
  Dims expected(index_view.dims.begin(), index_view.dims.end() - 1);
  const int64_t tuples = product(expected);
  expected.insert(expected.end(), x.dims.begin() + shape.depth(), x.dims.end());
  if (!std::ranges::equal(expected, ctx.input(2).dims))
    return mismatch("updates have shape " + format_dims(ctx.input(2).dims) + ", expected " +
                    format_dims(expected));
  Dims offsets;
  for (int64_t r = 0; r < tuples; ++r) offsets.push_back(shape.offset(indices, r));
  return scatter(ctx, offsets, {1, tuples, 1}, shape.length);
}

InputUse indices_on_host(const NodeView&, int input) {
  return input == 1 ? InputUse::kHost : InputUse::kData;
}
bool known_reduction(const NodeView& node) {
  return reduction_of(node) != Reduction::kNone || node.attr_string("reduction", "none") == "none";
}

constexpr KernelInfo scatter_info(std::string_view op, Status (*run)(KernelContext&)) {
  return {.op = op,
          .prepare = needs_inputs<3>,
          .run = run,
          .accepts = known_reduction,
          .use = indices_on_host};
}

}  // namespace

constinit const KernelInfo kGather{
    .op = "Gather", .prepare = needs_inputs<2>, .run = gather, .use = indices_on_host};
constinit const KernelInfo kGatherElements{.op = "GatherElements",
                                           .prepare = needs_inputs<2>,
                                           .run = gather_elements,
                                           .use = indices_on_host};
constinit const KernelInfo kGatherND{
    .op = "GatherND", .prepare = needs_inputs<2>, .run = gather_nd, .use = indices_on_host};
constinit const KernelInfo kScatter = scatter_info("Scatter", scatter_elements);
constinit const KernelInfo kScatterElements = scatter_info("ScatterElements", scatter_elements);
constinit const KernelInfo kScatterND = scatter_info("ScatterND", scatter_nd);

}  // namespace onnxtool
