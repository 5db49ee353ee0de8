#include "calib/kernels/dnnl/bf16.h"

#include <bit>

#include "calib/kernels/dnnl/multiversion.h"

namespace onnxtool {
namespace {

ONNXTOOL_MULTIVERSION void round_to_bf16(const float* x, uint16_t* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const auto bits = std::bit_cast<uint32_t>(x[i]);
    const uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
    // NaN stays one, quiet: rounding could carry into the exponent.
    const uint32_t magnitude = bits & 0x7fffffffu;
    const bool is_nan = magnitude > 0x7f800000u;
    // What is finite stays so: an infinity times zero would be NaN.
    const bool stays = magnitude >= 0x7f7f8000u;
    y[i] = static_cast<uint16_t>(is_nan ? bits >> 16 | 0x40u : stays ? bits >> 16 : rounded);
  }
}

}  // namespace

bool has_bf16() {
  constexpr auto kLevel = static_cast<unsigned>(dnnl::cpu_isa::avx512_core_bf16);
  return (static_cast<unsigned>(dnnl::get_effective_cpu_isa()) & kLevel) == kLevel;
}

Result<const void*> rounded_to_bf16(KernelContext& ctx, const float* values, int64_t count) {
  ONNXTOOL_ASSIGN(void* scratch, ctx.scratch(static_cast<size_t>(count) * sizeof(uint16_t)));
  auto* out = static_cast<uint16_t*>(scratch);
  ctx.parallel(count, 32 * 1024, [=](int64_t begin, int64_t end) {
    round_to_bf16(values + begin, out + begin, end - begin);
  });
  return static_cast<const void*>(out);
}

}  // namespace onnxtool
