#include "calib/kernels/cpu/conv_transpose_shape.h"

namespace onnxtool {
namespace {

Error overflows() {
  return bad_model("strides, kernel or output_padding overflow the output's extents");
}

/// Output extent and padding along axis i.
Status resolve_axis(const TransposeAttributes& s, const Spatial& output_padding,
                    const Spatial& output_shape, size_t i, Window& w) {
  const auto reach = checked_mul(w.kernel[i] - 1, w.dilation[i]);
  const auto steps = checked_mul(std::max<int64_t>(0, w.in[i] - 1), w.stride[i]);
  auto full = reach && steps ? checked_add(*reach, *steps) : std::nullopt;
  if (full) full = checked_add(*full, 1);
  if (full) full = checked_add(*full, output_padding[i]);
  if (!full || *full > INT64_MAX / 4 || w.stride[i] > INT64_MAX / 4) return overflows();
  const bool same =
      s.window.auto_pad == AutoPad::kSameUpper || s.window.auto_pad == AutoPad::kSameLower;
  const auto scaled = checked_mul(w.in[i], w.stride[i]);
  if (!s.output_shape.empty() || same) {
    if (s.output_shape.empty() && !scaled) return overflows();
    w.out[i] = s.output_shape.empty() ? *scaled : output_shape[i];
    // An output larger than what x reaches ends in zeros (plus bias).
    const int64_t total = std::max<int64_t>(0, *full - w.out[i]);
    w.pad_begin[i] = s.window.auto_pad == AutoPad::kSameUpper ? total / 2 : total - total / 2;
    w.pad_end[i] = total - w.pad_begin[i];
    return {};
  }
  if (w.pad_begin[i] > INT64_MAX / 4 || w.pad_begin[i] < -(INT64_MAX / 4) ||
      w.pad_end[i] > INT64_MAX / 4 || w.pad_end[i] < -(INT64_MAX / 4))
    return overflows();
  w.out[i] = *full - w.pad_begin[i] - w.pad_end[i];
  if (w.in[i] == 0) w.out[i] = std::max<int64_t>(0, w.out[i]);
  if (w.out[i] < 0)
    return mismatch("pads leave an extent of " + std::to_string(w.out[i]) + " on spatial axis " +
                    std::to_string(static_cast<int>(i) - (kSpatial - w.rank)));
  return {};
}

}  // namespace

Result<ConvShape> resolve_transpose(const TransposeAttributes& s, std::span<const int64_t> x,
                                    std::span<const int64_t> weights) {
  if (x.size() < 3 || weights.size() != x.size())
    return mismatch("input has shape " + format_dims(x) + " and weights have shape " +
                    format_dims(weights) +
                    ", expected [N, C, spatial...] and [C, M / group, kernel...]");
  if (x.size() > 2 + kSpatial)
    return kernel_error(ErrorCode::kUnsupported, "the input has " + std::to_string(x.size() - 2) +
                                                     " spatial axes, at most 3 are supported");
  if (s.group < 1)
    return bad_model("group is " + std::to_string(s.group) + ", expected at least 1");
  if (weights[0] != x[1] || x[1] % s.group != 0)
    return mismatch("weights have " + std::to_string(weights[0]) + " channels and group is " +
                    std::to_string(s.group) + " but the input has " + std::to_string(x[1]) +
                    " channels");
  const auto outputs = checked_mul(weights[1], s.group);
  if (!outputs) return bad_model("group overflows the number of output channels");
  const auto kernel = weights.subspan(2);
  if (!s.window.kernel.empty() && !std::ranges::equal(s.window.kernel, kernel))
    return mismatch("kernel_shape is " + format_dims(s.window.kernel) + " but weights have shape " +
                    format_dims(weights));
  ConvShape shape;
  Window& w = shape.window;
  w.rank = static_cast<int>(x.size()) - 2;
  ONNXTOOL_TRY(spread_attribute(x.subspan(2), w.rank, "the input's shape", 0, w.in));
  ONNXTOOL_TRY(spread_attribute(kernel, w.rank, "the weights' shape", 1, w.kernel));
  ONNXTOOL_TRY(spread_attribute(s.window.strides, w.rank, "strides", 1, w.stride));
  ONNXTOOL_TRY(spread_attribute(s.window.dilations, w.rank, "dilations", 1, w.dilation));
  if (s.window.auto_pad == AutoPad::kNotSet && !s.window.pads.empty()) {
    const std::span<const int64_t> pads = s.window.pads;
    if (pads.size() != 2 * static_cast<size_t>(w.rank))
      return bad_model("pads has " + std::to_string(pads.size()) + " values but the input has " +
                       std::to_string(w.rank) + " spatial axes");
    ONNXTOOL_TRY(
        spread_attribute(pads.first(pads.size() / 2), w.rank, "pads", INT64_MIN, w.pad_begin));
    ONNXTOOL_TRY(
        spread_attribute(pads.subspan(pads.size() / 2), w.rank, "pads", INT64_MIN, w.pad_end));
  }
  Spatial output_padding{0, 0, 0}, output_shape{1, 1, 1};
  ONNXTOOL_TRY(spread_attribute(s.output_padding, w.rank, "output_padding", 0, output_padding));
  // Some exporters write all dimensions of y.
  const auto spatial = std::span<const int64_t>(s.output_shape);
  ONNXTOOL_TRY(spread_attribute(spatial.size() == x.size() ? spatial.subspan(2) : spatial, w.rank,
                                "output_shape", 0, output_shape));
  for (size_t i = static_cast<size_t>(kSpatial - w.rank); i < kSpatial; ++i)
    ONNXTOOL_TRY(resolve_axis(s, output_padding, output_shape, i, w));
  shape.batch = x[0];
  shape.channels = x[1];
  shape.out_channels = *outputs;
  shape.group = s.group;
  return shape;
}

Result<TransposeAttributes> transpose_attributes(const NodeView& node) {
  TransposeAttributes attributes;
  ONNXTOOL_ASSIGN(attributes.window, window_attributes(node));
  attributes.output_padding = to_dims(node.attr_ints("output_padding"));
  attributes.output_shape = to_dims(node.attr_ints("output_shape"));
  attributes.group = node.attr_int("group", 1);
  return attributes;
}

}  // namespace onnxtool
