#include "calib/kernels/dnnl/halves.h"

#include "calib/kernels/cpu/vector_math.h"

namespace onnxtool {
namespace {

constexpr int64_t kGrain = 32 * 1024;

Result<const float*> widened(KernelContext& ctx, const uint16_t* from, int64_t count) {
  ONNXTOOL_ASSIGN(void* to, ctx.scratch(static_cast<size_t>(count) * sizeof(float)));
  ctx.parallel(count, kGrain, [&](int64_t begin, int64_t end) {
    vector_math().widen_half(from + begin, static_cast<float*>(to) + begin, end - begin);
  });
  return static_cast<const float*>(to);
}

}  // namespace

std::vector<float> floats_of(const ConstView& view) {
  std::vector<float> out(static_cast<size_t>(view.count));
  if (view.dtype == DataType::kFloat16)
    vector_math().widen_half(static_cast<const uint16_t*>(view.data), out.data(), view.count);
  else
    out.assign(view.as<float>().begin(), view.as<float>().end());
  return out;
}

Result<const float*> widened_halves(KernelContext& ctx, int i) {
  const ConstView& x = ctx.input(i);
  return widened(ctx, static_cast<const uint16_t*>(x.data), x.count);
}

Result<const float*> channels_last_halves(KernelContext& ctx, int i) {
  ONNXTOOL_ASSIGN(const uint16_t* from, channels_last_input<uint16_t>(ctx, i));
  return widened(ctx, from, ctx.input(i).count);
}

Result<HalfOutput> HalfOutput::make(KernelContext& ctx, std::span<const int64_t> dims) {
  HalfOutput h;
  const Layout layout = is_same_in_both_layouts(dims) ? Layout::kPlain : Layout::kChannelsLast;
  ONNXTOOL_ASSIGN(h.out, ctx.output(0, DataType::kFloat16, dims, layout));
  ONNXTOOL_ASSIGN(void* floats, ctx.scratch(static_cast<size_t>(h.out.count) * sizeof(float)));
  h.floats = static_cast<float*>(floats);
  return h;
}

void HalfOutput::store(KernelContext& ctx) const {
  ctx.parallel(out.count, kGrain, [&](int64_t begin, int64_t end) {
    vector_math().narrow_half(floats + begin, static_cast<uint16_t*>(out.data) + begin,
                              end - begin);
  });
}

}  // namespace onnxtool
