// DynamicQuantizeLinear on a device: the range of the tensor and 0, on 0..255, as
// cpu/dynamic_range.h has it. Codes, scale and zero point equal the host's: extremes do not depend
// on the order, and each step behind them is one exact step of float.

#include <cmath>

#include "calib/kernels/cuda/dynamic_quantize.h"
#include "calib/kernels/cuda/elements.h"

namespace onnxtool {
namespace {

struct LowHigh {
  float low, high;
};

ONNXTOOL_HD inline void widen(LowHigh& a, const LowHigh& b) {
  a.low = b.low < a.low ? b.low : a.low;
  a.high = b.high > a.high ? b.high : a.high;
}

// Of stretches of the tensor; 0 is in each.
struct RangeLine {
  using Part = LowHigh;
  const float* x;
  int64_t count, each;
  LowHigh* to;
  ONNXTOOL_HD int64_t length() const { return each; }
  ONNXTOOL_HD Part start() const { return {0, 0}; }
  ONNXTOOL_HD void add(Part& part, int64_t line, int64_t i) const {
    const int64_t at = line * each + i;
    if (at < count) widen(part, {x[at], x[at]});
  }
  ONNXTOOL_HD void merge(Part& a, const Part& b) const { widen(a, b); }
  ONNXTOOL_HD void finish(int64_t line, const Part& part) const { to[line] = part; }
};

struct ParametersLine {
  using Part = LowHigh;
  const LowHigh* parts;
  int64_t count;
  float* scale;
  uint8_t* zero_point;
  ONNXTOOL_HD int64_t length() const { return count; }
  ONNXTOOL_HD Part start() const { return {0, 0}; }
  ONNXTOOL_HD void add(Part& part, int64_t, int64_t i) const { widen(part, parts[i]); }
  ONNXTOOL_HD void merge(Part& a, const Part& b) const { widen(a, b); }
  ONNXTOOL_HD void finish(int64_t, const Part& r) const {
    const float step = r.high == r.low ? 1.0f : (r.high - r.low) / 255.0f;
    const float zero = std::nearbyint(-r.low / step);
    *scale = step;
    *zero_point = zero > 0 ? static_cast<uint8_t>(zero < 255 ? zero : 255.0f) : 0;  // NaN: 0
  }
};

struct ToCodes {
  const float *x, *scale;
  const uint8_t* zero_point;
  uint8_t* y;
  ONNXTOOL_HD void operator()(int64_t i) const {
    const int32_t zero = *zero_point;
    const float lowest = static_cast<float>(-zero), highest = static_cast<float>(255 - zero);
    float v = x[i] / *scale;
    v = v > lowest ? v : lowest;  // NaN too
    v = v < highest ? v : highest;
    y[i] = static_cast<uint8_t>(static_cast<int32_t>(std::nearbyint(v)) + zero);
  }
};

Status dynamic_quantize(KernelContext& ctx) {
  const ConstView& x = ctx.input(0);
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, DataType::kUint8, x.dims));
  ONNXTOOL_ASSIGN(const MutableView scale, ctx.output(1, DataType::kFloat, {}));
  ONNXTOOL_ASSIGN(const MutableView zero_point, ctx.output(2, DataType::kUint8, {}));
  return device::quantize_by_range(
      ctx, static_cast<const float*>(x.data), x.count, static_cast<float*>(scale.data),
      static_cast<uint8_t*>(zero_point.data), static_cast<uint8_t*>(y.data));
}

}  // namespace

Status device::quantize_by_range(KernelContext& ctx, const float* x, int64_t count, float* scale,
                                 uint8_t* zero_point, uint8_t* codes) {
  constexpr int64_t kLeast = 8192, kMostParts = 512;
  const int64_t parts = std::clamp<int64_t>((count + kLeast - 1) / kLeast, 1, kMostParts);
  ONNXTOOL_ASSIGN(void* work, ctx.scratch(static_cast<size_t>(parts) * sizeof(LowHigh)));
  auto* ranges = static_cast<LowHigh*>(work);
  for_each_line(parts, RangeLine{x, count, (count + parts - 1) / parts, ranges});
  for_each_line(1, ParametersLine{ranges, parts, scale, zero_point});
  for_each_index(count, ToCodes{x, scale, zero_point, codes});
  return {};
}

constinit const KernelInfo kDynamicQuantizeLinear{.op = "DynamicQuantizeLinear",
                                                  .types = {DataType::kFloat},
                                                  .prepare = needs_inputs<1>,
                                                  .run = dynamic_quantize};

}  // namespace onnxtool
