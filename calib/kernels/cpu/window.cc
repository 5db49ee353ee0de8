#include "calib/kernels/cpu/window.h"

#include <algorithm>

namespace onnxtool {

Result<WindowAttributes> window_attributes(const NodeView& node) {
  WindowAttributes a;
  a.kernel = to_dims(node.attr_ints("kernel_shape"));
  a.strides = to_dims(node.attr_ints("strides"));
  a.dilations = to_dims(node.attr_ints("dilations"));
  a.pads = to_dims(node.attr_ints("pads"));
  a.ceil_mode = node.attr_int("ceil_mode", 0) != 0;
  const std::string_view auto_pad = node.attr_string("auto_pad", "NOTSET");
  if (auto_pad == "SAME_UPPER")
    a.auto_pad = AutoPad::kSameUpper;
  else if (auto_pad == "SAME_LOWER")
    a.auto_pad = AutoPad::kSameLower;
  else if (auto_pad == "VALID")
    a.auto_pad = AutoPad::kValid;
  else if (auto_pad != "NOTSET" && !auto_pad.empty())
    return bad_model("auto_pad is '" + std::string(auto_pad) +
                     "', expected NOTSET, SAME_UPPER, SAME_LOWER or VALID");
  return a;
}

Status spread_attribute(std::span<const int64_t> values, int rank, std::string_view what,
                        int64_t lowest, Spatial& to) {
  if (values.empty()) return {};
  if (values.size() != static_cast<size_t>(rank))
    return bad_model(std::string(what) + " has " + std::to_string(values.size()) +
                     " values but the input has " + std::to_string(rank) + " spatial axes");
  for (size_t i = 0; i < values.size(); ++i) {
    if (values[i] < lowest)
      return bad_model(std::string(what) + " is " + format_dims(values) +
                       ", expected values of at least " + std::to_string(lowest));
    to[static_cast<size_t>(kSpatial - rank) + i] = values[i];
  }
  return {};
}

namespace {

Error too_large(std::string_view what) {
  return bad_model(std::string(what) + " overflow when added to the input's extents");
}

/// Extent of the output along one axis, and its padding when that is automatic.
Status resolve_axis_window(const WindowAttributes& a, Window& w, size_t i) {
  const auto reach = checked_mul(w.kernel[i] - 1, w.dilation[i]);
  const auto span = reach ? checked_add(*reach, 1) : std::nullopt;
  if (!span) return too_large("kernel and dilations");
  // Also keeps (o + 1) * stride from overflowing further down.
  if (w.stride[i] > INT64_MAX / 4 || *span > INT64_MAX / 4) return too_large("strides or kernel");
  const bool same = a.auto_pad == AutoPad::kSameUpper || a.auto_pad == AutoPad::kSameLower;
  if (same) {
    w.out[i] = w.in[i] / w.stride[i] + (w.in[i] % w.stride[i] != 0);
    const int64_t last = w.out[i] > 0 ? (w.out[i] - 1) * w.stride[i] : 0;
    const int64_t total = std::max<int64_t>(0, last - w.in[i] + *span);
    w.pad_begin[i] = a.auto_pad == AutoPad::kSameUpper ? total / 2 : total - total / 2;
    w.pad_end[i] = total - w.pad_begin[i];
    return {};
  }
  auto padded = checked_add(w.in[i], w.pad_begin[i]);
  if (padded) padded = checked_add(*padded, w.pad_end[i]);
  if (!padded || *padded > INT64_MAX / 4 || w.pad_begin[i] < -(INT64_MAX / 4))
    return too_large("pads");
  if (*padded < *span) {
    // An empty input has an empty output; any other window must fit once.
    if (w.in[i] == 0) {
      w.out[i] = 0;
      return {};
    }
    return mismatch("the window extends over " + std::to_string(*span) +
                    " elements but the padded input has " + std::to_string(*padded) +
                    " on spatial axis " +
                    std::to_string(static_cast<int>(i) - (kSpatial - w.rank)));
  }
  const int64_t room = *padded - *span;
  w.out[i] = room / w.stride[i] + 1;
  // The last window of ceil_mode must start inside the input or the padding before it.
  if (a.ceil_mode && a.auto_pad != AutoPad::kValid && room % w.stride[i] != 0 &&
      w.out[i] * w.stride[i] < w.in[i] + w.pad_begin[i])
    ++w.out[i];
  return {};
}

}  // namespace

bool Window::padded() const {
  for (int i = 0; i < kSpatial; ++i) {
    const auto a = static_cast<size_t>(i);
    if (pad_begin[a] != 0 || covered(i) > in[a]) return true;
  }
  return false;
}

std::pair<int64_t, int64_t> Window::taps(int axis, int64_t o) const {
  const size_t i = at(axis);
  const int64_t start = o * stride[i] - pad_begin[i];
  const int64_t first = start >= 0 ? 0 : (-start + dilation[i] - 1) / dilation[i];
  const int64_t left = in[i] - start;  // input elements from the first tap on
  const int64_t last = left <= 0 ? 0 : std::min(kernel[i], (left - 1) / dilation[i] + 1);
  return {std::min(first, kernel[i]), std::max(last, std::min(first, kernel[i]))};
}

Dims Window::output_dims(int64_t batch, int64_t channels) const {
  Dims dims{batch, channels};
  dims.insert(dims.end(), out.end() - rank, out.end());
  return dims;
}

Result<Window> resolve_window(const WindowAttributes& attributes, std::span<const int64_t> dims,
                              std::span<const int64_t> kernel) {
  if (dims.size() < 3)
    return bad_model("the input has shape " + format_dims(dims) + ", expected [N, C, spatial...]");
  if (dims.size() > 2 + kSpatial)
    return kernel_error(ErrorCode::kUnsupported, "the input has " +
                                                     std::to_string(dims.size() - 2) +
                                                     " spatial axes, at most 3 are supported");
  Window w;
  w.rank = static_cast<int>(dims.size()) - 2;
  for (size_t i = 0; i < static_cast<size_t>(w.rank); ++i)
    w.in[static_cast<size_t>(kSpatial - w.rank) + i] = dims[i + 2];
  if (kernel.empty()) return bad_model("kernel_shape is absent");
  ONNXTOOL_TRY(spread_attribute(kernel, w.rank, "kernel_shape", 1, w.kernel));
  // Automatic padding makes room for any window; no real one comes near this.
  constexpr int64_t kMostTaps = int64_t{1} << 28;
  const auto taps = checked_product(w.kernel);
  if (!taps || *taps > kMostTaps)
    return kernel_error(ErrorCode::kLimit, "kernel_shape is " + format_dims(kernel) +
                                               ", which has more than 2^28 elements");
  ONNXTOOL_TRY(spread_attribute(attributes.strides, w.rank, "strides", 1, w.stride));
  ONNXTOOL_TRY(spread_attribute(attributes.dilations, w.rank, "dilations", 1, w.dilation));
  if (attributes.auto_pad == AutoPad::kNotSet && !attributes.pads.empty()) {
    if (attributes.pads.size() != 2 * static_cast<size_t>(w.rank))
      return bad_model("pads has " + std::to_string(attributes.pads.size()) +
                       " values but the input has " + std::to_string(w.rank) + " spatial axes");
    ONNXTOOL_TRY(spread_attribute(std::span(attributes.pads).first(static_cast<size_t>(w.rank)),
                                  w.rank, "pads", INT64_MIN, w.pad_begin));
    ONNXTOOL_TRY(spread_attribute(std::span(attributes.pads).subspan(static_cast<size_t>(w.rank)),
                                  w.rank, "pads", INT64_MIN, w.pad_end));
  }
  for (size_t i = static_cast<size_t>(kSpatial - w.rank); i < kSpatial; ++i)
    ONNXTOOL_TRY(resolve_axis_window(attributes, w, i));
  return w;
}

}  // namespace onnxtool
