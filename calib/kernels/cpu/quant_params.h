// Scales and zero points as the integer operators take them.
#pragma once

#include <array>
#include <cmath>

#include "calib/kernels/cpu/common.h"
#include "calib/kernels/cpu/host_device.h"
#include "libopt/ir/code_type.h"

namespace onnxtool {

/// A parameter of a matrix product: one value, or one for each row (column) of each product.
struct LineParams {
  enum class Spread : uint8_t { kOne, kPerLine, kPerBatchLine };
  Spread spread = Spread::kOne;
  int64_t lines = 1;
  /// Where the values of product `batch` begin.
  int64_t offset(int64_t batch) const {
    return spread == Spread::kPerBatchLine ? batch * lines : 0;
  }
  bool per_line() const { return spread != Spread::kOne; }
};

/// Classifies a scale or zero point of shape `dims` for `batches` products with `lines` rows
/// (columns): a scalar, [lines], or one for each line of each product.
Result<LineParams> line_params(std::span<const int64_t> dims, int64_t batches, int64_t lines,
                               std::string_view what);

/// A scale of any float type as floats.
Result<std::vector<float>> scale_values(const ConstView& view, std::string_view what);
/// One scale.
Result<float> scale_scalar(const ConstView& view, std::string_view what);
/// An 8-bit zero point of one element, which must have the type of what it belongs to.
Result<int32_t> zero_point_scalar(const ConstView& view, DataType expected, std::string_view what);
/// Checks that a zero point has the type of what it belongs to.
Status check_zero_point_type(const ConstView& view, DataType expected, std::string_view what);

/// Scale, zero point and type of an 8-bit tensor.
struct Quantization {
  float scale = 1;
  int32_t zero_point = 0;
  DataType type = DataType::kUint8;

  ONNXTOOL_HD float value(int32_t code) const {
    return scale * static_cast<float>(code - zero_point);
  }
  /// Rounds half to even and saturates; NaN gives the lowest.
  ONNXTOOL_HD uint8_t code(float value) const;
  /// value(code) for the 256 bytes that a code may be.
  std::array<float, 256> values() const;
};
/// From the inputs `scale` and `zero_point`; an absent zero point is 0 of type `type`.
Result<Quantization> quantization_of(const KernelContext& ctx, int scale, int zero_point,
                                     DataType type);

/// What DynamicQuantizeLinear takes for x: uint8 over the range of x and 0. NaN does not count;
/// infinite values give an infinite scale.
Quantization dynamic_quantization(const float* x, int64_t n);

ONNXTOOL_HD inline int32_t lowest_of(DataType type) { return type == DataType::kInt8 ? -128 : 0; }
ONNXTOOL_HD inline int32_t highest_of(DataType type) { return type == DataType::kInt8 ? 127 : 255; }
ONNXTOOL_HD inline uint8_t Quantization::code(float value) const {
  const float low = static_cast<float>(lowest_of(type) - zero_point),
              high = static_cast<float>(highest_of(type) - zero_point);
  const float steps = value / scale;
  const float clipped = !(steps > low) ? low : steps < high ? steps : high;
  return static_cast<uint8_t>(static_cast<int32_t>(std::nearbyint(clipped)) + zero_point);
}

inline int32_t int8_at(const ConstView& view, int64_t i) {
  return view.dtype == DataType::kInt8 ? static_cast<const int8_t*>(view.data)[i]
                                       : static_cast<const uint8_t*>(view.data)[i];
}

}  // namespace onnxtool
