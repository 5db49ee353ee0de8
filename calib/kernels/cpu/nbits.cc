#include "calib/kernels/cpu/nbits.h"

#include "calib/kernels/cpu/convert.h"

namespace onnxtool {
namespace {

enum Input : int { kA, kB, kScales, kZeroPoints, kGroups, kBias };

// Found by comparing results for every width, block and kind of zero points (ONNX Runtime 1.31).
bool rounds_left_side(const NodeView& node, const NBitsShape& s) {
  if (node.attr_int("accuracy_level", 0) != 4) return false;
  if (node.has_input(kZeroPoints) && node.input_dtype(kZeroPoints) != DataType::kUint8)
    return false;
  return s.bits != 2 || (s.block >= 32 && s.block <= 128);
}

}  // namespace

Result<NBitsShape> nbits_shape(const NodeView& node) {
  ONNXTOOL_TRY(require_inputs(node, {kA, kB, kScales}));
  if (node.has_input(kGroups))
    return kernel_error(ErrorCode::kUnsupported, "input g_idx is not supported");
  NBitsShape s;
  s.k = node.attr_int("K", 0);
  s.n = node.attr_int("N", 0);
  s.bits = node.attr_int("bits", 4);
  s.block = node.attr_int("block_size", 0);
  const bool fits = s.k >= 1 && s.n >= 1 && s.k <= INT32_MAX && s.n <= INT32_MAX && s.block >= 16 &&
                    s.block <= INT32_MAX && (s.block & (s.block - 1)) == 0 &&
                    (s.bits == 2 || s.bits == 4 || s.bits == 8);
  if (!fits)
    return bad_model("K, N, bits and block_size are " + std::to_string(s.k) + ", " +
                     std::to_string(s.n) + ", " + std::to_string(s.bits) + " and " +
                     std::to_string(s.block) +
                     ", expected positive extents, 2, 4 or 8, and a power of two from 16 on");
  s.rounds = rounds_left_side(node, s);
  return s;
}

Result<NBitsWeights> nbits_weights(KernelContext& ctx, const NBitsShape& s) {
  const ConstView &b = ctx.input(kB), &scales = ctx.input(kScales);
  const int64_t lines = s.n * s.blocks();
  if (b.dtype != DataType::kUint8 || b.count != lines * s.block_bytes() || scales.count != lines)
    return mismatch("b is " + std::string(name(b.dtype)) + " of shape " + format_dims(b.dims) +
                    " and scales have " + std::to_string(scales.count) +
                    " elements, expected uint8 of [" + std::to_string(s.n) + ", " +
                    std::to_string(s.blocks()) + ", " + std::to_string(s.block_bytes()) + "] and " +
                    std::to_string(lines));
  NBitsWeights w;
  w.b = static_cast<const uint8_t*>(b.data);
  ONNXTOOL_ASSIGN(const ConstView wide, converted(ctx, scales, DataType::kFloat));
  w.scales = static_cast<const float*>(wide.data);
  if (!ctx.has_input(kZeroPoints)) return w;
  const ConstView& zero = ctx.input(kZeroPoints);
  const bool is_packed = zero.dtype == DataType::kUint8;
  const int64_t expected = is_packed ? s.n * s.zero_point_bytes() : lines;
  if (zero.count != expected || (!is_packed && !is_float(zero.dtype)))
    return mismatch("zero_points are " + std::string(name(zero.dtype)) + " of shape " +
                    format_dims(zero.dims) + ", expected " + std::to_string(expected) +
                    " elements");
  if (is_packed) {
    w.packed_zero_points = static_cast<const uint8_t*>(zero.data);
    return w;
  }
  ONNXTOOL_ASSIGN(const ConstView zero_wide, converted(ctx, zero, DataType::kFloat));
  w.zero_points = static_cast<const float*>(zero_wide.data);
  return w;
}

Result<Dims> nbits_result(const KernelContext& ctx, const NBitsShape& s) {
  const ConstView& a = ctx.input(kA);
  if (a.rank() < 1 || a.dims.back() != s.k)
    return mismatch("a has shape " + format_dims(a.dims) + ", expected a last extent of " +
                    std::to_string(s.k));
  if (ctx.has_input(kBias) && ctx.input(kBias).count != s.n)
    return mismatch("bias has shape " + format_dims(ctx.input(kBias).dims) + ", expected [" +
                    std::to_string(s.n) + "]");
  Dims dims = to_dims(a.dims);
  dims.back() = s.n;
  return dims;
}

}  // namespace onnxtool
