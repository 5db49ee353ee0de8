// com.microsoft.MatMulNBits on a device: attributes and shapes are cpu/nbits.h's. Weights are
// dequantized as the host does it, all of them at once, and multiplied in float; results are
// rounded once. What accuracy_level 4 rounds of the left side is rounded as on the host.

#include <cmath>
#include <limits>

#include "calib/kernels/cpu/nbits.h"
#include "calib/kernels/cuda/elements.h"
#include "calib/kernels/cuda/product.h"

namespace onnxtool {
namespace {

using device::Divider;

struct NBitsState final : KernelState, NBitsShape {};

Result<std::unique_ptr<KernelState>> prepare(const NodeView& node) {
  auto state = std::make_unique<NBitsState>();
  ONNXTOOL_ASSIGN(static_cast<NBitsShape&>(*state), nbits_shape(node));
  return {std::move(state)};
}

// out [n, k]
struct Dequantize {
  NBitsShape s;
  NBitsWeights w;
  Divider columns, block;
  float* out;
  ONNXTOOL_HD void operator()(int64_t i) const {
    int64_t row = i;
    const int64_t k = columns.split(row), b = block.quotient(k), at = row * s.blocks() + b;
    const int32_t code = packed_at(w.b + at * s.block_bytes(), k - b * s.block, s.bits);
    out[i] = (static_cast<float>(code) - w.zero(s, row, b)) * w.scales[at];
  }
};

// One block of a row of a, as 8-bit codes hold it: 255 steps whose last is the largest magnitude.
// What is not finite stays.
struct RoundBlock {
  int64_t k, block;
  Divider blocks;
  const float* a;
  float* out;
  ONNXTOOL_HD void operator()(int64_t line) const {
    int64_t row = line;
    const int64_t first = blocks.split(row) * block, n = k - first < block ? k - first : block;
    const float* from = a + row * k + first;
    float* to = out + row * k + first;
    float largest = 0;
    for (int64_t i = 0; i < n; ++i) {
      const float magnitude = std::fabs(from[i]);
      largest = largest < magnitude ? magnitude : largest;
    }
    constexpr float kMost = std::numeric_limits<float>::max();
    const float scale = largest / 127.0f, inverse = largest != 0 ? 127.0f / largest : 0.0f;
    const bool has_codes = largest <= kMost && inverse <= kMost;
    for (int64_t i = 0; i < n; ++i)
      to[i] = has_codes ? std::nearbyint(from[i] * inverse) * scale : from[i];
  }
};

struct AddColumns {
  const float* bias;
  float* y;
  Divider columns;
  ONNXTOOL_HD void operator()(int64_t i) const { y[i] += bias[columns.remainder(i)]; }
};

Result<float*> floats(KernelContext& ctx, int64_t count) {
  const auto size = checked_mul(count, int64_t{sizeof(float)});
  if (!size) return kernel_error(ErrorCode::kLimit, "the weights are too large");
  ONNXTOOL_ASSIGN(void* buffer, ctx.scratch(static_cast<size_t>(*size)));
  return static_cast<float*>(buffer);
}

Status run(KernelContext& ctx) {
  const NBitsShape& s = static_cast<const NBitsState&>(*ctx.state());
  ONNXTOOL_ASSIGN(const Dims dims, nbits_result(ctx, s));
  ONNXTOOL_ASSIGN(const NBitsWeights weights, nbits_weights(ctx, s));
  ONNXTOOL_ASSIGN(const ConstView a, converted(ctx, ctx.input(0), DataType::kFloat));
  ONNXTOOL_ASSIGN(const WideOutput y, WideOutput::make(ctx, 0, ctx.input(0).dtype, dims));
  if (y.count() == 0) return {};
  const int64_t rows = y.count() / s.n;
  const auto* left = static_cast<const float*>(a.data);
  if (s.rounds) {
    ONNXTOOL_ASSIGN(float* rounded, floats(ctx, rows * s.k));
    device::for_each_index(rows * s.blocks(),
                           RoundBlock{s.k, s.block, Divider(s.blocks()), left, rounded});
    left = rounded;
  }
  ONNXTOOL_ASSIGN(float* wide, floats(ctx, s.n * s.k));
  device::for_each_index(s.n * s.k, Dequantize{s, weights, Divider(s.k), Divider(s.block), wide});
  device::Product p;
  p.transpose_b = true;
  p.m = rows, p.n = s.n, p.k = s.k;
  p.a = left, p.b = wide, p.c = y.data<float>();
  ONNXTOOL_TRY(device::multiply(ctx, p));
  if (ctx.has_input(5)) {
    ONNXTOOL_ASSIGN(const ConstView bias, converted(ctx, ctx.input(5), DataType::kFloat));
    device::for_each_index(
        y.count(), AddColumns{static_cast<const float*>(bias.data), y.data<float>(), Divider(s.n)});
  }
  y.finish(ctx);
  return {};
}

}  // namespace

constinit const KernelInfo kMatMulNBits{
    .domain = "com.microsoft",
    .op = "MatMulNBits",
    .types = {DataType::kFloat, DataType::kFloat16, DataType::kBfloat16},
    .prepare = prepare,
    .run = run};

}  // namespace onnxtool
