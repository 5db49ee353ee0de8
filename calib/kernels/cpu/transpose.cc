// Operators that permute axes: Transpose, DepthToSpace, SpaceToDepth. All end in copy_strided().

#include <algorithm>
#include <optional>

#include "calib/kernels/cpu/convert.h"
#include "calib/kernels/cpu/vector_math.h"
#include "calib/kernels/cpu/walk.h"

namespace onnxtool {
namespace {

// `images` matrices of `rows` x `columns`, each transposed.
struct Matrices {
  int64_t images = 1, rows = 1, columns = 1;
};
// What the walk does if it is that: axes that follow each other in x and y count as one.
std::optional<Matrices> as_matrices(const Walk<1>& walk) {
  Dims extents, strides;
  for (size_t i = 0; i < walk.extents.size(); ++i) {
    const int64_t extent = walk.extents[i], stride = walk.strides[0][i];
    if (extent == 1) continue;
    if (!extents.empty() && strides.back() == extent * stride) {
      extents.back() *= extent;
      strides.back() = stride;
    } else {
      extents.push_back(extent);
      strides.push_back(stride);
    }
  }
  const size_t n = extents.size();
  if (n != 2 && n != 3) return std::nullopt;
  const Matrices m{n == 3 ? extents[0] : 1, extents[n - 1], extents[n - 2]};
  const bool fits = strides[n - 2] == 1 && strides[n - 1] == m.columns &&
                    (n == 2 || strides[0] == m.rows * m.columns);
  return fits ? std::optional(m) : std::nullopt;
}

void transpose_matrices(KernelContext& ctx, const Matrices& m, const uint32_t* x, uint32_t* y) {
  // Stretches of columns: whole lines of cache of what is read.
  constexpr int64_t kStretch = 64;
  const int64_t stretches = (m.columns + kStretch - 1) / kStretch;
  ctx.parallel(m.images * stretches, std::max<int64_t>(kGrain / (kStretch * m.rows), 1),
               [&](int64_t begin, int64_t end) {
                 for (int64_t i = begin; i < end; ++i) {
                   const int64_t image = i / stretches * m.rows * m.columns,
                                 first = i % stretches * kStretch;
                   vector_math().transpose32(x + image + first, m.columns,
                                             y + image + first * m.rows, m.rows, m.rows,
                                             std::min(kStretch, m.columns - first));
                 }
               });
}

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
  if (const auto m =
          !kDeviceKernels && bits_of(x.dtype) == 32 ? as_matrices(walk) : std::nullopt;
      m && x.count > 0)
    transpose_matrices(ctx, *m, static_cast<const uint32_t*>(x.data),
                       static_cast<uint32_t*>(y.data()));
  else
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
