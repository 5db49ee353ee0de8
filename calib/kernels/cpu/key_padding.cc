// Padding masks as biases (see the header).

#include "calib/kernels/cpu/key_padding.h"

#include "calib/kernels/cpu/convert.h"

namespace onnxtool {
namespace {

Result<float*> bias_buffer(KernelContext& ctx, std::span<const int64_t> dims) {
  const auto count = checked_product(dims);
  const auto bytes = count ? checked_mul(*count, sizeof(float)) : std::nullopt;
  if (!bytes)
    return kernel_error(ErrorCode::kLimit, "a mask of " + format_dims(dims) + " is too large");
  ONNXTOOL_ASSIGN(void* data, ctx.scratch(static_cast<size_t>(*bytes)));
  return static_cast<float*>(data);
}

struct HidePadding {
  bool raw;  // an element for each key, else where they end and, where given, begin
  const int32_t *values, *begins;
  int64_t keys;
  float hidden;
  float* bias;
  struct Row {
    const int32_t* shown;  // nullptr: keys [begin, end) are
    int64_t begin, end;
    float hidden;
    float* bias;
    ONNXTOOL_HD void operator()(int64_t j) const {
      bias[j] = (shown ? shown[j] != 0 : j >= begin && j < end) ? 0 : hidden;
    }
  };
  ONNXTOOL_HD Row row(int64_t r) const {
    if (raw) return {values + r * keys, 0, 0, hidden, bias + r * keys};
    return {nullptr, begins ? begins[r] : 0, values[r], hidden, bias + r * keys};
  }
};

}  // namespace

Result<ConstView> padding_bias(KernelContext& ctx, const ConstView& mask, const HeadShape& q,
                               int64_t keys, float hidden, std::vector<int64_t>& dims) {
  if (mask.dtype != DataType::kInt32) return unsupported_type(mask.dtype, "the mask");
  const auto* values = static_cast<const int32_t*>(mask.data);
  const bool lengths = mask.rank() == 1 && (mask.count == q.batches || mask.count == 2 * q.batches);
  const bool raw = (mask.rank() == 2 || (mask.rank() == 3 && mask.dims[1] == q.rows)) &&
                   mask.dims[0] == q.batches && mask.dims.back() == keys;
  if (!lengths && !raw)
    return mismatch("the mask has shape " + format_dims(mask.dims) + ", expected [" +
                    std::to_string(q.batches) + "], [" + std::to_string(q.batches) + ", " +
                    std::to_string(keys) + "] or [" + std::to_string(q.batches) + ", " +
                    std::to_string(q.rows) + ", " + std::to_string(keys) + "]");
  dims = {q.batches, 1, mask.rank() == 3 ? q.rows : 1, keys};
  ONNXTOOL_ASSIGN(float* bias, bias_buffer(ctx, dims));
  ConstView view{DataType::kFloat, dims, bias, product(dims)};
  const int64_t rows = view.count == 0 ? 0 : view.count / keys;
  for_each_cell(ctx, rows, keys,
                HidePadding{raw, values, mask.count == q.batches ? nullptr : values + q.batches,
                            keys, hidden, bias});
  return view;
}

Result<TwoBiases> read_biases(KernelContext& ctx, KeyWindow window, int padding, int bias,
                              const HeadShape& q, int64_t keys) {
  const Dims full{q.batches, q.heads, q.rows, keys};
  MaskBias<float> first, second;
  if (padding >= 0 && ctx.has_input(padding)) {
    std::vector<int64_t> dims;
    ONNXTOOL_ASSIGN(const ConstView mask,
                    padding_bias(ctx, ctx.input(padding), q, keys,
                                 ctx.node().attr_float("mask_filter_value", -10000), dims));
    ONNXTOOL_ASSIGN(first, MaskBias<float>::make({}, &mask, full));
  }
  if (bias >= 0 && ctx.has_input(bias)) {
    ONNXTOOL_ASSIGN(const ConstView added, converted(ctx, ctx.input(bias), DataType::kFloat));
    ONNXTOOL_ASSIGN(second, MaskBias<float>::make(std::move(window), &added, full));
  } else {
    ONNXTOOL_ASSIGN(second, MaskBias<float>::make(std::move(window), nullptr, full));
  }
  return TwoBiases{std::move(first), std::move(second)};
}

}  // namespace onnxtool
