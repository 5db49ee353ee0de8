// Dropout: the input itself at inference; in training mode (12 and later) elements are dropped
// where numpy's RandomState(seed) draws less than `ratio`, the others scaled by 1 / (1 - ratio).

#include <cstring>

#include "calib/kernels/cpu/random_state.h"

namespace onnxtool {
namespace {

// The ratio to train with; 0 at inference.
Result<float> training_ratio(const KernelContext& ctx) {
  const bool training = ctx.has_input(2) && ctx.input(2).count > 0 &&
                        *static_cast<const uint8_t*>(ctx.input(2).data) != 0;
  if (!training) return 0.0f;
  float ratio = 0.5f;
  if (ctx.has_input(1) && ctx.input(1).count > 0)
    convert_elements(ctx.input(1).dtype, ctx.input(1).data, DataType::kFloat, &ratio, 0, 1);
  if (ratio >= 0 && ratio < 1) return ratio;
  return mismatch("ratio is " + std::to_string(ratio) + ", expected at least 0 and less than 1");
}

// 1 where an element is kept.
std::vector<uint8_t> kept_elements(KernelContext& ctx, int64_t count, float ratio) {
  std::vector<uint8_t> kept(static_cast<size_t>(count), 1);
  if (ratio == 0) return kept;
  RandomState random(ctx.node().attr_int("seed", 0));
  for (uint8_t& k : kept) k = random.uniform() >= static_cast<double>(ratio);
  return kept;
}

Status drop(KernelContext& ctx, float ratio, const std::vector<uint8_t>& kept) {
  const DataType type = ctx.input(0).dtype;
  ONNXTOOL_ASSIGN(const ConstView x, widened(ctx, ctx.input(0)));
  ONNXTOOL_ASSIGN(const WideOutput y, WideOutput::make(ctx, 0, type, x.dims));
  return dispatch(x.dtype, TypeList<float, double>{}, "input 0", [&]<class T>() -> Status {
    const T scale = T{1} / (T{1} - static_cast<T>(ratio));
    const T* from = static_cast<const T*>(x.data);
    for (int64_t i = 0; i < x.count; ++i)
      y.data<T>()[i] = static_cast<T>(kept[static_cast<size_t>(i)]) * from[i] * scale;
    y.finish(ctx);
    return {};
  });
}

Status run(KernelContext& ctx) {
  const ConstView& x = ctx.input(0);
  ONNXTOOL_ASSIGN(const float ratio, training_ratio(ctx));
  if (ratio == 0 && !ctx.wants_output(1)) return ctx.output_view(0, 0, x.dims);
  const std::vector<uint8_t> kept = kept_elements(ctx, x.count, ratio);
  if (ratio == 0) {
    ONNXTOOL_TRY(ctx.output_view(0, 0, x.dims));
  } else {
    ONNXTOOL_TRY(drop(ctx, ratio, kept));
  }
  if (!ctx.wants_output(1)) return {};
  const DataType mask_type = ctx.node().opset() < 10 ? x.dtype : DataType::kBool;
  ONNXTOOL_ASSIGN(const MutableView mask, ctx.output(1, mask_type, x.dims));
  if (mask.count > 0)
    convert_elements(DataType::kUint8, kept.data(), mask_type, mask.data, 0, mask.count);
  return {};
}

}  // namespace

constinit const KernelInfo kDropout{.op = "Dropout", .prepare = needs_inputs<1>, .run = run};

}  // namespace onnxtool
