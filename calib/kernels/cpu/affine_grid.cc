// AffineGrid-20: grid[n, point] = theta[n] * (x, y[, z], 1) for the points of an image of `size`
// [N, C, (D,) H, W], whose coordinates span [-1, 1]: from the centres of the outer elements
// (align_corners) or from their borders. Computed in double and rounded once.

#include "calib/kernels/cpu/convert.h"
#include "calib/kernels/cpu/float_io.h"

namespace onnxtool {
namespace {

double coordinate(int64_t i, int64_t extent, bool align_corners) {
  if (align_corners)
    return extent > 1 ? -1 + 2.0 * static_cast<double>(i) / static_cast<double>(extent - 1) : -1;
  return (2.0 * static_cast<double>(i) + 1) / static_cast<double>(extent) - 1;
}

Status run(KernelContext& ctx) {
  const std::span<const int64_t> theta_dims = ctx.input(0).dims;
  ONNXTOOL_ASSIGN(const Dims size, integer_values(ctx.input(1), "size"));
  if (size.size() != 4 && size.size() != 5)
    return mismatch("size has " + std::to_string(size.size()) + " elements, expected 4 or 5");
  const auto axes = static_cast<int64_t>(size.size()) - 2;
  const Dims expected{size[0], axes, axes + 1};
  if (!std::ranges::equal(theta_dims, expected))
    return mismatch("theta has shape " + format_dims(theta_dims) + ", expected " +
                    format_dims(expected));
  Dims dims{size[0]};
  dims.insert(dims.end(), size.begin() + 2, size.end());
  dims.push_back(axes);
  if (!checked_product(dims)) return mismatch("size " + format_dims(size) + " is not a shape");
  const DataType type = ctx.input(0).dtype;
  ONNXTOOL_ASSIGN(const ConstView theta, converted(ctx, ctx.input(0), DataType::kDouble));
  ONNXTOOL_ASSIGN(const MutableView grid, ctx.output(0, type, dims));
  if (grid.count == 0) return {};
  const bool align = ctx.node().attr_int("align_corners", 0) != 0;
  const int64_t points = product(dims, 1, dims.size() - 1);
  const int64_t depth = axes == 3 ? size[2] : 1, height = size[size.size() - 2],
                width = size.back();
  ctx.parallel(size[0] * points, kGrain / 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t p = i % points;
      const double at[3] = {coordinate(p % width, width, align),
                            coordinate(p / width % height, height, align),
                            coordinate(p / width / height, depth, align)};
      const double* matrix =
          static_cast<const double*>(theta.data) + i / points * axes * (axes + 1);
      double out[3];
      for (int64_t row = 0; row < axes; ++row, matrix += axes + 1) {
        out[row] = matrix[axes];
        for (int64_t a = axes; a-- > 0;) out[row] += matrix[a] * at[a];
      }
      convert_elements(DataType::kDouble, out, type,
                       static_cast<std::byte*>(grid.data) + i * axes * (bits_of(type) / 8), 0,
                       axes);
    }
  });
  return {};
}

}  // namespace

constinit const KernelInfo kAffineGrid{
    .op = "AffineGrid", .types = kFloatDataTypes, .prepare = needs_inputs<2>, .run = run};

}  // namespace onnxtool
