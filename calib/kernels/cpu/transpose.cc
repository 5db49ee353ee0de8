// Operators that permute axes: Transpose, DepthToSpace, SpaceToDepth. All end in copy_strided().

#include <algorithm>

#include "calib/kernels/cpu/convert.h"
#include "calib/kernels/cpu/walk.h"

namespace onnxtool {
namespace {

// The input, seen as `dims`, with its axes in the order of `perm`; the output has shape `out_dims`.
Status permute(KernelContext& ctx, std::span<const int64_t> dims, std::span<const int64_t> perm,
               std::span<const int64_t> out_dims) {
  const Dims strides = contiguous_strides(dims);
  Walk<1> walk;
  bool same_order = true;  // of the axes that are not 1: then no byte moves
  int64_t last = -1;
  for (const int64_t axis : perm) {
    const auto a = static_cast<size_t>(axis);
    walk.extents.push_back(dims[a]);
    walk.strides[0].push_back(strides[a]);
    if (dims[a] == 1) continue;
    same_order = same_order && axis > last;
    last = axis;
  }
  if (same_order) return ctx.output_view(0, 0, out_dims);
  ONNXTOOL_ASSIGN(const ConstView x, unpacked(ctx, ctx.input(0)));
  ONNXTOOL_ASSIGN(const MovedOutput y, MovedOutput::make(ctx, 0, ctx.input(0).dtype, out_dims));
  copy_strided(ctx, x.dtype, x.data, std::move(walk), y.data());
  y.finish();
  return {};
}

Status transpose(KernelContext& ctx) {
  const ConstView& x = ctx.input(0);
  Dims perm = to_dims(ctx.node().attr_ints("perm"));
  if (!ctx.node().has_attribute("perm"))
    for (int64_t i = x.rank(); i-- > 0;) perm.push_back(i);
  Dims sorted = perm;
  std::ranges::sort(sorted);
  for (size_t i = 0; i < sorted.size(); ++i)
    if (sorted[i] != static_cast<int64_t>(i))
      return bad_model("perm " + format_dims(perm) + " is not a permutation");
  if (perm.size() != x.dims.size())
    return bad_model("perm has " + std::to_string(perm.size()) + " axes but the input has rank " +
                     std::to_string(x.rank()));
  Dims dims;
  for (const int64_t axis : perm) dims.push_back(x.dims[static_cast<size_t>(axis)]);
  return permute(ctx, x.dims, perm, dims);
}

Result<int64_t> block_size(const KernelContext& ctx) {
  const int64_t b = ctx.node().attr_int("blocksize", 0);
  if (b < 1 || b > INT32_MAX)
    return bad_model("blocksize is " + std::to_string(b) + ", expected a positive number");
  if (ctx.input(0).rank() != 4)
    return mismatch("input has shape " + format_dims(ctx.input(0).dims) + ", expected rank 4");
  return b;
}

Status depth_to_space(KernelContext& ctx) {
  ONNXTOOL_ASSIGN(const int64_t b, block_size(ctx));
  const std::span<const int64_t> x = ctx.input(0).dims;
  if (x[1] % (b * b) != 0)
    return mismatch("input has " + std::to_string(x[1]) + " channels, expected a multiple of " +
                    std::to_string(b * b));
  const int64_t channels = x[1] / (b * b);
  const Dims dims{x[0], channels, x[2] * b, x[3] * b};
  const std::string_view mode = ctx.node().attr_string("mode", "DCR");
  if (mode == "DCR")
    return permute(ctx, Dims{x[0], b, b, channels, x[2], x[3]}, Dims{0, 3, 4, 1, 5, 2}, dims);
  if (mode == "CRD")
    return permute(ctx, Dims{x[0], channels, b, b, x[2], x[3]}, Dims{0, 1, 4, 2, 5, 3}, dims);
  return bad_model("mode is '" + std::string(mode) + "', expected DCR or CRD");
}

Status space_to_depth(KernelContext& ctx) {
  ONNXTOOL_ASSIGN(const int64_t b, block_size(ctx));
  const std::span<const int64_t> x = ctx.input(0).dims;
  if (x[2] % b != 0 || x[3] % b != 0)
    return mismatch("input has shape " + format_dims(x) +
                    ", expected height and width to be multiples of " + std::to_string(b));
  const Dims dims{x[0], x[1] * b * b, x[2] / b, x[3] / b};
  const Dims split{x[0], x[1], x[2] / b, b, x[3] / b, b};
  const std::string_view mode = ctx.node().attr_string("mode", "DCR");
  if (mode == "DCR") return permute(ctx, split, Dims{0, 3, 5, 1, 2, 4}, dims);
  if (mode == "CRD") return permute(ctx, split, Dims{0, 1, 3, 5, 2, 4}, dims);
  return bad_model("mode is '" + std::string(mode) + "', expected DCR or CRD");
}

}  // namespace

constinit const KernelInfo kTranspose{
    .op = "Transpose", .prepare = needs_inputs<1>, .run = transpose};
constinit const KernelInfo kDepthToSpace{
    .op = "DepthToSpace", .prepare = needs_inputs<1>, .run = depth_to_space};
constinit const KernelInfo kSpaceToDepth{
    .op = "SpaceToDepth", .prepare = needs_inputs<1>, .run = space_to_depth};

}  // namespace onnxtool
