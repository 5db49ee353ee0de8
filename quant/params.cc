#include "quant/params.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "libopt/ir/code_type.h"
#include "quant/float8.h"
#include "quant/weight_loops.h"

namespace onnxtool {

bool is_quantized_integer(DataType type) {
  switch (type) {
    case DataType::kInt8:
    case DataType::kUint8:
    case DataType::kInt16:
    case DataType::kUint16:
    case DataType::kInt4:
    case DataType::kUint4:
    case DataType::kInt2:
    case DataType::kUint2: return true;
    default: return false;
  }
}

QuantScheme scheme_of(DataType type, bool symmetric, bool reduced, bool ort_compat) {
  if (is_quantized_float(type)) return float8_scheme(type);
  ONNXTOOL_CHECK(is_quantized_integer(type));
  const int bits = bits_of(type);
  QuantScheme s;
  s.symmetric = symmetric;
  s.clip_min = is_signed(type) ? -(1 << (bits - 1)) : 0;
  s.clip_max = is_signed(type) ? (1 << (bits - 1)) - 1 : (1 << bits) - 1;
  s.qmin = s.clip_min;
  s.qmax = s.clip_max;
  if (reduced) {
    // -64..64 and -16384..16384, but -4..3: as onnxruntime has them.
    s.qmin = s.clip_min / 2;
    s.qmax = is_signed(type) && bits >= 8 ? -s.qmin : s.clip_max / 2;
  } else if (symmetric && is_signed(type) && (bits >= 8 || !ort_compat)) {
    s.qmin = -s.qmax;
  }
  return s;
}

Result<QuantParams> compute(Range range, const QuantScheme& scheme, double min_real_range) {
  if (!std::isfinite(range.min) || !std::isfinite(range.max))
    return Error{ErrorCode::kNotFinite,
                 fmt::format("range [{:g}, {:g}] is not finite", range.min, range.max),
                 {}};
  Range r{std::min(range.min, 0.0), std::max(range.max, 0.0)};
  if (min_real_range > 0) r.max = std::max(r.max, r.min + min_real_range);
  const Grid grid = grid_of(r, scheme);
  const auto scale = static_cast<float>(grid.scale);
  if (!std::isfinite(scale))
    return Error{ErrorCode::kNotFinite,
                 fmt::format("range [{:g}, {:g}] needs a scale beyond float", r.min, r.max),
                 {}};
  return QuantParams{scale, grid.zero_point};
}

int32_t quantize_value(float x, QuantParams params, const QuantScheme& scheme) {
  if (std::isnan(x)) return params.zero_point;
  if (scheme.is_float8()) return encode_float8(x, params.scale, scheme);
  return WeightCoder(params, scheme)(x);
}

Range representable(QuantParams params, const QuantScheme& scheme) {
  const auto scale = static_cast<double>(params.scale);
  return {(scheme.clip_min - params.zero_point) * scale,
          (scheme.clip_max - params.zero_point) * scale};
}

}  // namespace onnxtool
