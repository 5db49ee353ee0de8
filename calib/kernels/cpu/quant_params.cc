#include "calib/kernels/cpu/quant_params.h"

#include <algorithm>
#include <cmath>

#include "calib/kernels/cpu/convert.h"
#include "calib/kernels/cpu/dynamic_range.h"

namespace onnxtool {

Result<LineParams> line_params(std::span<const int64_t> dims, int64_t batches, int64_t lines,
                               std::string_view what) {
  using Spread = LineParams::Spread;
  const int64_t count = product(dims);
  if (count == 1) return LineParams{};
  // [..., lines, 1] and [..., 1, lines] hold their values in the same order as [..., lines].
  if (count == lines) return LineParams{Spread::kPerLine, lines};
  if (dims.size() > 1 && count == batches * lines) return LineParams{Spread::kPerBatchLine, lines};
  return mismatch(std::string(what) + " has shape " + format_dims(dims) +
                  ", expected one value or one for each of " + std::to_string(lines) + " lines");
}

Result<std::vector<float>> scale_values(const ConstView& view, std::string_view what) {
  if (!is_float(view.dtype) || wide_type(view.dtype) != DataType::kFloat)
    return unsupported_type(view.dtype, what);
  std::vector<float> values(static_cast<size_t>(view.count));
  load_wide<float>(view.dtype, view.data, 0, view.count, values.data());
  return values;
}

Result<float> scale_scalar(const ConstView& view, std::string_view what) {
  if (view.count != 1)
    return mismatch(std::string(what) + " has shape " + format_dims(view.dims) +
                    ", expected one element");
  ONNXTOOL_ASSIGN(const std::vector<float> values, scale_values(view, what));
  return values[0];
}

Status check_zero_point_type(const ConstView& view, DataType expected, std::string_view what) {
  if (view.dtype == expected) return {};
  return mismatch(std::string(what) + " has element type " + std::string(name(view.dtype)) +
                  ", expected " + std::string(name(expected)));
}

Result<int32_t> zero_point_scalar(const ConstView& view, DataType expected, std::string_view what) {
  ONNXTOOL_TRY(check_zero_point_type(view, expected, what));
  if (view.count != 1)
    return mismatch(std::string(what) + " has shape " + format_dims(view.dims) +
                    ", expected one element");
  return int8_at(view, 0);
}

std::array<float, 256> Quantization::values() const {
  std::array<float, 256> values{};
  for (int32_t i = 0; i < 256; ++i)
    values[static_cast<size_t>(i)] = value(type == DataType::kInt8 ? static_cast<int8_t>(i) : i);
  return values;
}

Result<Quantization> quantization_of(const KernelContext& ctx, int scale, int zero_point,
                                     DataType type) {
  Quantization q;
  q.type = type;
  ONNXTOOL_ASSIGN(q.scale, scale_scalar(ctx.input(scale), "a scale"));
  if (!is_8bit(type)) return unsupported_type(type, "a zero point");
  if (!ctx.has_input(zero_point)) return q;
  ONNXTOOL_ASSIGN(q.zero_point, zero_point_scalar(ctx.input(zero_point), type, "a zero point"));
  return q;
}

Quantization dynamic_quantization(const float* x, int64_t n) {
  const DynamicRange range = dynamic_range(x, n);
  Quantization q;
  q.scale = range.scale;
  q.zero_point = range.zero_point;
  return q;
}

}  // namespace onnxtool
