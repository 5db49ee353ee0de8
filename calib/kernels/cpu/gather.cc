// Gather, GatherElements, GatherND. Negative indices count from the end; others must be in range.

#include <algorithm>

#include "calib/kernels/cpu/indices.h"
#include "calib/kernels/cpu/walk.h"

namespace onnxtool {

namespace {

// rows of `length` elements: out[r] = in[offset(r)].
template <class Offset>
void copy_blocks(KernelContext& ctx, DataType type, const void* in, void* out, int64_t rows,
                 int64_t length, const Offset& offset) {
  dispatch_movement(type, [&]<class E>() {
    const E* from = static_cast<const E*>(in);
    E* to = static_cast<E*>(out);
    ctx.parallel(rows, grain_of(length), [&](int64_t begin, int64_t end) {
      if (length == 1)
        for (int64_t r = begin; r < end; ++r) to[r] = from[offset(r)];
      else
        for (int64_t r = begin; r < end; ++r)
          std::copy_n(from + offset(r), length, to + r * length);
    });
  });
}

Status gather(KernelContext& ctx) {
  const DataType type = ctx.input(0).dtype;
  ONNXTOOL_ASSIGN(const int64_t axis,
                  resolve_axis(ctx.node().attr_int("axis", 0), ctx.input(0).rank()));
  ONNXTOOL_ASSIGN(const ConstView x, unpacked(ctx, ctx.input(0)));
  const ConstView& index_view = ctx.input(1);
  const LineShape shape = line_shape(x.dims, axis);
  ONNXTOOL_ASSIGN(const auto indices, checked_indices(ctx, index_view, std::span(&shape.n, 1)));
  const auto at_axis = x.dims.begin() + axis;
  Dims dims(x.dims.begin(), at_axis);
  dims.insert(dims.end(), index_view.dims.begin(), index_view.dims.end());
  dims.insert(dims.end(), at_axis + 1, x.dims.end());
  ONNXTOOL_ASSIGN(const MovedOutput y, MovedOutput::make(ctx, 0, type, dims));
  if (y.count() == 0) return {};
  const auto n = static_cast<int64_t>(indices.size());
  if (n == 1) {  // a slice: no division per row
    const int64_t start = indices[0] * shape.inner;
    copy_blocks(ctx, x.dtype, x.data, y.data(), shape.outer, shape.inner,
                [&](int64_t r) { return r * shape.n * shape.inner + start; });
  } else {
    copy_blocks(ctx, x.dtype, x.data, y.data(), shape.outer * n, shape.inner, [&](int64_t r) {
      return (r / n * shape.n + indices[static_cast<size_t>(r % n)]) * shape.inner;
    });
  }
  y.finish();
  return {};
}

Status gather_elements(KernelContext& ctx) {
  const DataType type = ctx.input(0).dtype;
  ONNXTOOL_ASSIGN(const ConstView x, unpacked(ctx, ctx.input(0)));
  const ConstView& index_view = ctx.input(1);
  ONNXTOOL_ASSIGN(const int64_t axis, resolve_axis(ctx.node().attr_int("axis", 0), x.rank()));
  ONNXTOOL_TRY(check_element_indices(x.dims, index_view.dims, axis));
  const auto a = static_cast<size_t>(axis);
  ONNXTOOL_ASSIGN(const auto indices, checked_indices(ctx, index_view, x.dims.subspan(a, 1)));
  ONNXTOOL_ASSIGN(const MovedOutput y, MovedOutput::make(ctx, 0, type, index_view.dims));
  Walk<1> walk{to_dims(index_view.dims), {contiguous_strides(x.dims)}};
  const int64_t axis_stride = walk.strides[0][a];
  walk.strides[0][a] = 0;
  dispatch_movement(x.dtype, [&]<class E>() {
    const E* from = static_cast<const E*>(x.data);
    E* to = static_cast<E*>(y.data());
    const int64_t step = walk.inner_stride(0);
    parallel_walk<1>(
        ctx, walk, y.count(), kGrain,
        [&](int64_t first, int64_t n, const std::array<int64_t, 1>& offsets) {
          for (int64_t i = 0; i < n; ++i)
            to[first + i] =
                from[offsets[0] + i * step + indices[static_cast<size_t>(first + i)] * axis_stride];
        });
  });
  y.finish();
  return {};
}

Status gather_nd(KernelContext& ctx) {
  const DataType type = ctx.input(0).dtype;
  ONNXTOOL_ASSIGN(const ConstView x, unpacked(ctx, ctx.input(0)));
  const ConstView& index_view = ctx.input(1);
  const int64_t batch_dims = ctx.node().attr_int("batch_dims", 0);
  ONNXTOOL_ASSIGN(const TupleShape shape, tuple_shape(x.dims, index_view.dims, batch_dims));
  ONNXTOOL_ASSIGN(const auto indices, checked_indices(ctx, index_view, shape.extents));
  Dims dims(index_view.dims.begin(), index_view.dims.end() - 1);
  dims.insert(dims.end(), x.dims.begin() + batch_dims + shape.depth(), x.dims.end());
  ONNXTOOL_ASSIGN(const MovedOutput y, MovedOutput::make(ctx, 0, type, dims));
  if (y.count() == 0) return {};
  const int64_t tuples = product(index_view.dims, 0, index_view.dims.size() - 1);
  const int64_t per_batch = tuples / product(index_view.dims, 0, static_cast<size_t>(batch_dims));
  copy_blocks(ctx, x.dtype, x.data, y.data(), tuples, shape.length, [&](int64_t r) {
    return r / per_batch * shape.batch_stride + shape.offset(indices, r);
  });
  y.finish();
  return {};
}

}  // namespace

constinit const KernelInfo kGather{.op = "Gather", .prepare = needs_inputs<2>, .run = gather};
constinit const KernelInfo kGatherElements{
    .op = "GatherElements", .prepare = needs_inputs<2>, .run = gather_elements};
constinit const KernelInfo kGatherND{
    .op = "GatherND", .prepare = needs_inputs<2>, .run = gather_nd};

}  // namespace onnxtool
