// CausalConvWithState-27: a depthwise convolution along the last axis that sees only what came
// before, with the last k - 1 positions handed on.
//   padded = [past_state or zeros, input];  y[t] = bias + sum over i < k of w[i] * padded[t + i]
// Half types are computed in float; one task owns a channel of a sample.

#include "calib/kernels/cpu/convert.h"
#include "calib/kernels/cpu/float_io.h"
#include "calib/kernels/cpu/vector_math.h"

namespace onnxtool {
namespace {

enum Input : int { kX, kWeight, kBias, kPast };

Result<std::unique_ptr<KernelState>> prepare(const NodeView& node) {
  ONNXTOOL_TRY(require_inputs(node, {kX, kWeight}));
  const std::string_view activation = node.attr_string("activation", "none");
  if (activation != "none" && activation != "silu" && activation != "swish")
    return bad_model("activation is '" + std::string(activation) +
                     "', expected none, silu or swish");
  return std::unique_ptr<KernelState>();
}

Status check_dims(const KernelContext& ctx, const Dims& state_dims) {
  const ConstView& x = ctx.input(kX);
  if (ctx.has_input(kBias) && !std::ranges::equal(ctx.input(kBias).dims, x.dims.subspan(1, 1)))
    return mismatch("bias has shape " + format_dims(ctx.input(kBias).dims) + ", expected [" +
                    std::to_string(x.dims[1]) + "]");
  if (!ctx.has_input(kPast)) return {};
  const ConstView& past = ctx.input(kPast);
  if (past.dtype != x.dtype || !std::ranges::equal(past.dims, state_dims))
    return mismatch("past_state is " + std::string(name(past.dtype)) + " of shape " +
                    format_dims(past.dims) + ", expected " + std::string(name(x.dtype)) + " of " +
                    format_dims(state_dims));
  return {};
}

Status run(KernelContext& ctx) {
  const ConstView& given = ctx.input(kX);
  const std::span<const int64_t> w_dims = ctx.input(kWeight).dims;
  if (given.rank() != 3)
    return mismatch("input has shape " + format_dims(given.dims) +
                    ", expected [batch, channels, length]");
  const int64_t batches = given.dims[0], channels = given.dims[1], length = given.dims[2];
  if (w_dims.size() != 3 || w_dims[0] != channels || w_dims[1] != 1 || w_dims[2] < 1)
    return mismatch("weight has shape " + format_dims(w_dims) + ", expected [" +
                    std::to_string(channels) + ", 1, at least 1]");
  const int64_t k = w_dims[2], before = k - 1;
  const Dims state_dims{batches, channels, before};
  ONNXTOOL_TRY(check_dims(ctx, state_dims));
  const DataType type = given.dtype;
  ONNXTOOL_ASSIGN(const float* x, float_input<float>(ctx, kX, type, "input"));
  ONNXTOOL_ASSIGN(const float* w, float_input<float>(ctx, kWeight, type, "weight"));
  ONNXTOOL_ASSIGN(const float* bias, optional_float_input<float>(ctx, kBias, type, "bias"));
  ONNXTOOL_ASSIGN(const float* past, optional_float_input<float>(ctx, kPast, type, "past_state"));
  ONNXTOOL_ASSIGN(const WideOutput y, WideOutput::make(ctx, 0, type, given.dims));
  const bool activates = ctx.node().attr_string("activation", "none") != "none";
  const auto padded_count =
      checked_product(Dims{batches, channels, checked_add(length, before).value_or(-1)});
  if (!padded_count) return mismatch("the padded input has too many elements");
  ONNXTOOL_ASSIGN(void* buffer, ctx.scratch(static_cast<size_t>(*padded_count) * sizeof(float)));
  auto* padded = static_cast<float*>(buffer);
  if (*padded_count == 0 && y.count() == 0 && before == 0) return {};
  const int64_t row = length + before;
  const int64_t rows = *padded_count == 0 ? 0 : batches * channels;
  ctx.parallel(rows, grain_of(row * k), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      float* from = padded + i * row;
      if (past != nullptr)
        std::copy_n(past + i * before, before, from);
      else
        std::fill_n(from, before, 0.0f);
      std::copy_n(x + i * length, length, from + before);
      float* to = y.data<float>() + i * length;
      const float* taps = w + i % channels * k;
      std::fill_n(to, length, bias != nullptr ? bias[i % channels] : 0.0f);
      for (int64_t tap = 0; tap < k; ++tap)
        for (int64_t t = 0; t < length; ++t) to[t] += taps[tap] * from[t + tap];
      if (activates) vector_math().swish(to, to, length, 1);
    }
  });
  y.finish(ctx);
  if (!ctx.wants_output(1)) return {};
  ONNXTOOL_ASSIGN(const MutableView present, ctx.output(1, type, state_dims));
  for (int64_t i = 0; i < rows && before > 0; ++i)
    store_wide<float>(type, padded + i * row + length, before, present.data, i * before);
  return {};
}

}  // namespace

constinit const KernelInfo kCausalConvWithState{
    .op = "CausalConvWithState",
    .types = {DataType::kFloat, DataType::kFloat16, DataType::kBfloat16},
    .prepare = prepare,
    .run = run};

}  // namespace onnxtool
