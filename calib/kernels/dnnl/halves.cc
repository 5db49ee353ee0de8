#include "calib/kernels/dnnl/halves.h"

#include <bit>

#include "calib/kernels/dnnl/fusion.h"
#include "calib/kernels/dnnl/multiversion.h"
#include "calib/kernels/dnnl/windows.h"
#include "libopt/support/half.h"

namespace onnxtool {
namespace {

constexpr int64_t kGrain = 32 * 1024;

// Half's own conversions without branches, so that they become vector instructions; the same
// values.
ONNXTOOL_MULTIVERSION void widen(const uint16_t* x, float* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t sign = (x[i] & 0x8000u) << 16, magnitude = x[i] & 0x7fffu;
    // Subnormals: put the mantissa below 2^-14's exponent and subtract 2^-14, exactly.
    const uint32_t normal = (magnitude << 13) + (magnitude >= 0x7c00u ? 0x70000000u : 0x38000000u);
    const float small = __builtin_bit_cast(float, (magnitude << 13) + 0x38800000u) - 0x1p-14f;
    const uint32_t bits = magnitude < 0x400u ? __builtin_bit_cast(uint32_t, small) : normal;
    y[i] = __builtin_bit_cast(float, bits | sign);
  }
}

ONNXTOOL_MULTIVERSION void narrow(const float* x, uint16_t* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t bits = __builtin_bit_cast(uint32_t, x[i]);
    const uint32_t sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
    const uint32_t normal = (magnitude + 0xfffu + ((magnitude >> 13) & 1u) - 0x38000000u) >> 13;
    // Adding one half shifts a subnormal's bits to where they belong, rounded.
    const float shifted = __builtin_bit_cast(float, magnitude) + 0.5f;
    const uint32_t small = __builtin_bit_cast(uint32_t, shifted) - 0x3f000000u;
    const uint32_t large = magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u;
    const uint32_t found = magnitude < 0x38800000u ? small : normal;
    y[i] = static_cast<uint16_t>(sign | (magnitude >= 0x477ff000u ? large : found));
  }
}

}  // namespace

std::vector<float> floats_of(const ConstView& view) {
  std::vector<float> out(static_cast<size_t>(view.count));
  if (view.dtype == DataType::kFloat16)
    widen(static_cast<const uint16_t*>(view.data), out.data(), view.count);
  else
    out.assign(view.as<float>().begin(), view.as<float>().end());
  return out;
}

Result<const float*> channels_last_halves(KernelContext& ctx, int i) {
  ONNXTOOL_ASSIGN(const uint16_t* from, channels_last_input<uint16_t>(ctx, i));
  const int64_t count = ctx.input(i).count;
  ONNXTOOL_ASSIGN(void* to, ctx.scratch(static_cast<size_t>(count) * sizeof(float)));
  ctx.parallel(count, kGrain, [&](int64_t begin, int64_t end) {
    widen(from + begin, static_cast<float*>(to) + begin, end - begin);
  });
  return static_cast<const float*>(to);
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
    narrow(floats + begin, static_cast<uint16_t*>(out.data) + begin, end - begin);
  });
}

}  // namespace onnxtool
