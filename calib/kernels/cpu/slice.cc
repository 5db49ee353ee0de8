// Operators that read a regular part of a tensor, or repeat it: Slice, Expand, Tile.

#include <algorithm>

#include "calib/exec/parts.h"
#include "calib/kernels/cpu/convert.h"
#include "calib/kernels/cpu/walk.h"

namespace onnxtool {
namespace {

// y = x read from `offset` on at `walk`: a view where that is one stretch of x.
Status copy_part(KernelContext& ctx, int64_t offset, Walk<1> walk, std::span<const int64_t> dims) {
  const DataType type = ctx.input(0).dtype;
  walk.coalesce();
  if (walk.extents.empty() || (walk.extents.size() == 1 && walk.strides[0][0] == 1)) {
    if (product(dims) == ctx.input(0).count) return ctx.output_view(0, 0, dims);
    if (share_part(ctx, 0, 0, dims, offset)) return {};
  }
  ONNXTOOL_ASSIGN(const ConstView x, unpacked(ctx, ctx.input(0)));
  ONNXTOOL_ASSIGN(const MovedOutput y, MovedOutput::make(ctx, 0, type, dims));
  dispatch_movement(x.dtype, [&]<class E>() {
    copy_strided(ctx, x.dtype, static_cast<const E*>(x.data) + offset, std::move(walk), y.data());
  });
  y.finish();
  return {};
}

Status slice(KernelContext& ctx) {
  const ConstView& x = ctx.input(0);
  const bool by_input = ctx.node().opset() >= 10;
  ONNXTOOL_ASSIGN(const std::optional<Dims> starts,
                  integers_from(ctx, by_input ? 1 : -1, "starts"));
  ONNXTOOL_ASSIGN(const std::optional<Dims> ends, integers_from(ctx, by_input ? 2 : -1, "ends"));
  ONNXTOOL_ASSIGN(std::optional<Dims> axes, integers_from(ctx, by_input ? 3 : -1, "axes"));
  ONNXTOOL_ASSIGN(std::optional<Dims> steps, integers_from(ctx, by_input ? 4 : -1, "steps"));
  if (!starts || !ends) return bad_model("starts or ends are missing");
  const size_t n = starts->size();
  if (!axes) {
    axes.emplace(n);
    for (size_t i = 0; i < n; ++i) (*axes)[i] = static_cast<int64_t>(i);
  }
  if (!steps) steps.emplace(n, 1);
  if (ends->size() != n || axes->size() != n || steps->size() != n)
    return mismatch("starts, ends, axes and steps have " + std::to_string(n) + ", " +
                    std::to_string(ends->size()) + ", " + std::to_string(axes->size()) + " and " +
                    std::to_string(steps->size()) + " elements, expected equal numbers");
  ONNXTOOL_ASSIGN(const Dims resolved, resolve_axes(*axes, x.rank()));
  Walk<1> walk{to_dims(x.dims), {contiguous_strides(x.dims)}};
  int64_t offset = 0;
  for (size_t i = 0; i < n; ++i) {
    const auto a = static_cast<size_t>(resolved[i]);
    const int64_t extent = x.dims[a];
    if ((*steps)[i] == 0) return mismatch("steps is 0 for axis " + std::to_string(a));
    // A step beyond the extent reads one element, however large it is.
    const int64_t step = std::clamp((*steps)[i], -extent - 1, extent + 1);
    const auto from_end = [extent](int64_t v) { return v < 0 ? v + extent : v; };
    int64_t start = from_end((*starts)[i]), end = from_end((*ends)[i]);
    int64_t count = 0;
    if (step > 0) {
      start = std::clamp<int64_t>(start, 0, extent);
      end = std::clamp<int64_t>(end, 0, extent);
      if (end > start) count = (end - start - 1) / step + 1;
    } else if (extent > 0) {
      start = std::clamp<int64_t>(start, 0, extent - 1);
      end = std::clamp<int64_t>(end, -1, extent);
      if (start > end) count = (start - end - 1) / -step + 1;
    }
    walk.extents[a] = count;
    if (count > 0) offset += start * walk.strides[0][a];
    walk.strides[0][a] *= step;
  }
  const Dims dims = walk.extents;
  if (product(dims) == 0) offset = 0;
  return copy_part(ctx, offset, std::move(walk), dims);
}

Status expand(KernelContext& ctx) {
  const ConstView& x = ctx.input(0);
  ONNXTOOL_ASSIGN(const Dims shape, integer_values(ctx.input(1), "shape"));
  if (!checked_product(shape)) return mismatch("shape " + format_dims(shape) + " is not a shape");
  ONNXTOOL_ASSIGN(const Dims dims, broadcast_dims({x.dims, shape}));
  if (!checked_product(dims))
    return mismatch("shape " + format_dims(dims) + " passes 2^63 elements");
  return copy_part(ctx, 0, {dims, {broadcast_strides(x.dims, dims)}}, dims);
}

// Tile-1 repeats along one axis that an input names.
Result<Dims> tile_repeats(const KernelContext& ctx) {
  const int64_t rank = ctx.input(0).rank();
  ONNXTOOL_TRY(require_inputs(ctx.node(), {1}));
  if (ctx.node().opset() >= 6) return integer_values(ctx.input(1), "repeats");
  Dims repeats(static_cast<size_t>(rank), 1);
  ONNXTOOL_TRY(require_inputs(ctx.node(), {2}));
  int64_t values[2];  // tiles, axis: tensors of the input's type
  for (int i = 0; i < 2; ++i) {
    const ConstView& v = ctx.input(i + 1);
    if (v.count != 1 || wide_type(v.dtype) == DataType::kUndefined)
      return mismatch("input " + std::to_string(i + 1) + " has shape " + format_dims(v.dims) +
                      ", expected one number");
    convert_elements(v.dtype, v.data, DataType::kInt64, &values[i], 0, 1);
  }
  ONNXTOOL_ASSIGN(const int64_t axis, resolve_axis(values[1], rank));
  repeats[static_cast<size_t>(axis)] = values[0];
  return repeats;
}

Status tile(KernelContext& ctx) {
  const ConstView& x = ctx.input(0);
  ONNXTOOL_ASSIGN(const Dims repeats, tile_repeats(ctx));
  if (repeats.size() != x.dims.size())
    return mismatch("repeats has " + std::to_string(repeats.size()) +
                    " elements but the input has rank " + std::to_string(x.rank()));
  const Dims strides = contiguous_strides(x.dims);
  Dims dims;
  Walk<1> walk;
  for (size_t i = 0; i < repeats.size(); ++i) {
    const std::optional<int64_t> extent =
        repeats[i] < 0 ? std::nullopt : checked_mul(repeats[i], x.dims[i]);
    if (!extent)
      return mismatch("repeats " + format_dims(repeats) + " do not fit an input of shape " +
                      format_dims(x.dims));
    dims.push_back(*extent);
    walk.extents.insert(walk.extents.end(), {repeats[i], x.dims[i]});
    walk.strides[0].insert(walk.strides[0].end(), {0, strides[i]});
  }
  if (!checked_product(dims))
    return mismatch("repeats " + format_dims(repeats) + " pass 2^63 elements");
  if (std::ranges::equal(dims, x.dims)) return ctx.output_view(0, 0, dims);
  return copy_part(ctx, 0, std::move(walk), dims);
}

}  // namespace

constinit const KernelInfo kSlice{
    .op = "Slice", .prepare = needs_inputs<1>, .run = slice, .use = parameters_on_host};
constinit const KernelInfo kExpand{
    .op = "Expand", .prepare = needs_inputs<2>, .run = expand, .use = parameters_on_host};
constinit const KernelInfo kTile{
    .op = "Tile", .prepare = needs_inputs<1>, .run = tile, .use = parameters_on_host};

}  // namespace onnxtool
