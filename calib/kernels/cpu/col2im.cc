// Col2Im-18: input [N, C * block, positions]; each column is added into the image at the elements
// that its sliding block covers. Padding is left out. Any number of spatial axes; one task owns a
// plane.

#include "calib/kernels/cpu/convert.h"
#include "calib/kernels/cpu/walk.h"

namespace onnxtool {
namespace {

struct Blocks {
  Dims image, block, dilations, strides, pads;  // pads: [begins..., ends...]
  Dims positions;                               // of the block, per axis

  size_t rank() const { return image.size(); }
};

Result<Dims> per_axis(const NodeView& node, std::string_view name, size_t count, int64_t fallback,
                      int64_t lowest) {
  if (!node.has_attribute(name)) return Dims(count, fallback);
  const Dims values = to_dims(node.attr_ints(name));
  const bool fits = values.size() == count &&
                    std::all_of(values.begin(), values.end(),
                                [&](int64_t v) { return v >= lowest && v <= INT32_MAX; });
  if (fits) return values;
  return bad_model(std::string(name) + " is " + format_dims(values) + ", expected " +
                   std::to_string(count) + " values of at least " + std::to_string(lowest));
}

Result<Blocks> read_blocks(const KernelContext& ctx) {
  Blocks b;
  ONNXTOOL_ASSIGN(b.image, integer_values(ctx.input(1), "image_shape"));
  ONNXTOOL_ASSIGN(b.block, integer_values(ctx.input(2), "block_shape"));
  const size_t rank = b.rank();
  const auto extent = [](int64_t v) { return v >= 1 && v <= INT32_MAX; };
  if (rank == 0 || b.block.size() != rank || !std::all_of(b.image.begin(), b.image.end(), extent) ||
      !std::all_of(b.block.begin(), b.block.end(), extent))
    return mismatch("image_shape is " + format_dims(b.image) + " and block_shape " +
                    format_dims(b.block) + ", expected positive extents of as many axes");
  ONNXTOOL_ASSIGN(b.dilations, per_axis(ctx.node(), "dilations", rank, 1, 1));
  ONNXTOOL_ASSIGN(b.strides, per_axis(ctx.node(), "strides", rank, 1, 1));
  ONNXTOOL_ASSIGN(b.pads, per_axis(ctx.node(), "pads", 2 * rank, 0, 0));
  for (size_t i = 0; i < rank; ++i) {
    const int64_t span = b.dilations[i] * (b.block[i] - 1) + 1;
    const int64_t room = b.image[i] + b.pads[i] + b.pads[rank + i] - span;
    if (room < 0)
      return mismatch("block_shape " + format_dims(b.block) + " exceeds the padded image");
    b.positions.push_back(room / b.strides[i] + 1);
  }
  const std::span<const int64_t> x = ctx.input(0).dims;
  const auto block = checked_product(b.block), positions = checked_product(b.positions);
  if (x.size() != 3 || !block || !positions || x[1] % *block != 0 || x[2] != *positions)
    return mismatch("input has shape " + format_dims(x) + ", expected [N, C * " +
                    format_dims(b.block) + ", " + format_dims(b.positions) +
                    "] with these extents multiplied");
  return b;
}

// Adds the columns of one plane. The last axis runs inside; the others are counted by `index`.
template <class T>
void add_plane(const Blocks& b, const T* columns, T* image) {
  const size_t rank = b.rank(), last = rank - 1;
  const Dims strides = contiguous_strides(b.image);
  const auto visit = [](const Dims& extents, size_t axes, const auto& body) {
    Dims index(extents.size());
    for (;;) {
      body(index);
      size_t axis = axes;
      while (axis > 0 && ++index[axis - 1] == extents[axis - 1]) index[--axis] = 0;
      if (axis == 0) return;
    }
  };
  visit(b.block, rank, [&](const Dims& tap) {
    visit(b.positions, last, [&](const Dims& position) {
      int64_t at = 0;
      bool inside = true;
      for (size_t i = 0; i < last; ++i) {
        const int64_t p = position[i] * b.strides[i] - b.pads[i] + tap[i] * b.dilations[i];
        inside = inside && p >= 0 && p < b.image[i];
        at += p * strides[i];
      }
      const int64_t first = tap[last] * b.dilations[last] - b.pads[last];
      for (int64_t o = 0; inside && o < b.positions[last]; ++o) {
        const int64_t p = first + o * b.strides[last];
        if (p >= 0 && p < b.image[last]) image[at + p] += columns[o];
      }
      columns += b.positions[last];
    });
  });
}

Status run(KernelContext& ctx) {
  ONNXTOOL_ASSIGN(const Blocks blocks, read_blocks(ctx));
  const DataType type = ctx.input(0).dtype;
  ONNXTOOL_ASSIGN(const ConstView x, widened(ctx, ctx.input(0)));
  const int64_t block = product(blocks.block), channels = x.dims[1] / block;
  Dims dims{x.dims[0], channels};
  dims.insert(dims.end(), blocks.image.begin(), blocks.image.end());
  ONNXTOOL_ASSIGN(const WideOutput y, WideOutput::make(ctx, 0, type, dims));
  if (y.count() == 0) return {};
  const int64_t per_plane = block * x.dims[2], size = product(blocks.image);
  const auto compute = [&]<class T>() -> Status {
    ctx.parallel(x.dims[0] * channels, grain_of(per_plane), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        std::fill_n(y.data<T>() + i * size, size, T{});
        add_plane(blocks, static_cast<const T*>(x.data) + i * per_plane, y.data<T>() + i * size);
      }
    });
    y.finish(ctx);
    return {};
  };
  // Integers wrap: they are added without sign.
  if (x.dtype == DataType::kInt32) return compute.template operator()<uint32_t>();
  if (x.dtype == DataType::kInt64) return compute.template operator()<uint64_t>();
  return dispatch(x.dtype, TypeList<float, double, uint64_t>{}, "input 0", compute);
}

}  // namespace

constinit const KernelInfo kCol2Im{.op = "Col2Im", .prepare = needs_inputs<3>, .run = run};

}  // namespace onnxtool
