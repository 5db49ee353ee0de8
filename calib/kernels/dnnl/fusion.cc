#include "calib/kernels/dnnl/fusion.h"

#include <algorithm>
#include <cstring>

#include "calib/kernels/cpu/vector_math.h"
#include "calib/kernels/dnnl/engine.h"
#include "calib/kernels/dnnl/windows.h"

namespace onnxtool {

namespace {

bool stands_beside(const PostOp& a, const PostOp& b) {
  if (algorithm_of(a.kind) != algorithm_of(b.kind)) return true;
  return a.kind == b.kind && a.alpha == b.alpha && a.beta == b.beta;
}

}  // namespace

bool fuses_post_op(const NodeView& node, const PostOp& op, std::span<const PostOp> own) {
  const auto fits = [&](const PostOp& before) { return stands_beside(before, op); };
  const std::span<const PostOp> fused = node.post_ops();
  if (op.kind == PostOp::Kind::kAdd) return fused.empty() && own.empty();
  return std::ranges::all_of(own, fits) && std::ranges::all_of(fused, fits);
}

Result<float*> fused_output(KernelContext& ctx, std::span<const PostOp> ops,
                            std::span<const int64_t> dims, Layout layout,
                            std::initializer_list<int> read) {
  if (is_same_in_both_layouts(dims)) layout = Layout::kPlain;
  if (ops.empty() || ops.front().kind != PostOp::Kind::kAdd) {
    ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, DataType::kFloat, dims, layout));
    return static_cast<float*>(y.data);
  }
  const int addend = ops.front().input;
  const ConstView& r = ctx.input(addend);
  if (!std::equal(dims.begin(), dims.end(), r.dims.begin(), r.dims.end()))
    return kernel_error(ErrorCode::kMismatch, "the fused addition has operands of dims " +
                                                  dims_text(dims) + " and " + dims_text(r.dims));
  const void* from = r.data;
  const bool convert = layout != r.layout && !is_same_in_both_layouts(dims);
  const bool shared = std::any_of(read.begin(), read.end(), [&](int i) {
    return ctx.has_input(i) && ctx.input(i).data == from;
  });
  ONNXTOOL_ASSIGN(const MutableView y,
                  convert || shared ? ctx.output(0, DataType::kFloat, dims, layout)
                                    : ctx.output_in_place(0, addend, DataType::kFloat, dims));
  if (y.count == 0 || y.data == from) return static_cast<float*>(y.data);
  if (convert)
    transpose_images(ctx, dims[0], dims[1], y.count / (dims[0] * dims[1]),
                     static_cast<const float*>(from), static_cast<float*>(y.data));
  else
    std::memcpy(y.data, from, static_cast<size_t>(y.count) * sizeof(float));
  return static_cast<float*>(y.data);
}

template <class T>
Result<const T*> channels_last_input(KernelContext& ctx, int i) {
  const ConstView& x = ctx.input(i);
  const auto* data = static_cast<const T*>(x.data);
  if (x.layout == Layout::kChannelsLast || is_same_in_both_layouts(x.dims) || x.count == 0)
    return data;
  ONNXTOOL_ASSIGN(void* copy, ctx.scratch(static_cast<size_t>(x.count) * sizeof(T)));
  transpose_images(ctx, x.dims[0], x.dims[1], x.count / (x.dims[0] * x.dims[1]), data,
                   static_cast<T*>(copy));
  return static_cast<const T*>(copy);
}

template <class T>
void transpose_images(KernelContext& ctx, int64_t images, int64_t channels, int64_t pixels,
                      const T* x, T* y) {
  // Tiles whose lines stay in the first-level cache while they are read and written.
  constexpr int64_t kTile = sizeof(T) == 4 ? 64 : 16;
  const int64_t tiles = (pixels + kTile - 1) / kTile;
  ctx.parallel(images * tiles,
               std::max<int64_t>(16384 / (kTile * std::max<int64_t>(channels, 1)), 1),
               [=](int64_t begin, int64_t end) {
                 for (int64_t t = begin; t < end; ++t) {
                   const int64_t s0 = t % tiles * kTile, s1 = std::min(s0 + kTile, pixels);
                   const T* from = x + t / tiles * channels * pixels;
                   T* to = y + t / tiles * channels * pixels;
                   if constexpr (sizeof(T) == 4) {
                     vector_math().transpose32(reinterpret_cast<const uint32_t*>(from + s0), pixels,
                                               reinterpret_cast<uint32_t*>(to + s0 * channels),
                                               channels, channels, s1 - s0);
                     continue;
                   }
                   for (int64_t c0 = 0; c0 < channels; c0 += kTile)
                     for (int64_t s = s0; s < s1; ++s)
                       for (int64_t c = c0; c < std::min(c0 + kTile, channels); ++c)
                         to[s * channels + c] = from[c * pixels + s];
                 }
               });
}

template Result<const float*> channels_last_input<float>(KernelContext&, int);
template Result<const uint8_t*> channels_last_input<uint8_t>(KernelContext&, int);
template Result<const int8_t*> channels_last_input<int8_t>(KernelContext&, int);
template Result<const uint16_t*> channels_last_input<uint16_t>(KernelContext&, int);

}  // namespace onnxtool
