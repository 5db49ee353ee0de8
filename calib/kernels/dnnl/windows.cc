#include "calib/kernels/dnnl/windows.h"

namespace onnxtool {
namespace {

// Extents beyond this never meet real data, and sums of a few of them cannot overflow.
constexpr int64_t kMost = int64_t{1} << 31;

bool within(const std::vector<int64_t>& v, int64_t least) {
  return std::all_of(v.begin(), v.end(), [=](int64_t d) { return d >= least && d <= kMost; });
}

std::vector<int64_t> copy(std::span<const int64_t> v) { return {v.begin(), v.end()}; }

}  // namespace

std::optional<WindowAttributes> window_attributes(const NodeView& node) {
  WindowAttributes a{.kernel = copy(node.attr_ints("kernel_shape")),
                     .strides = copy(node.attr_ints("strides")),
                     .dilations = copy(node.attr_ints("dilations")),
                     .pads = copy(node.attr_ints("pads"))};
  const std::string_view auto_pad = node.attr_string("auto_pad", "NOTSET");
  if (auto_pad == "SAME_UPPER")
    a.auto_pad = AutoPad::kSameUpper;
  else if (auto_pad == "SAME_LOWER")
    a.auto_pad = AutoPad::kSameLower;
  else if (auto_pad == "VALID")
    a.auto_pad = AutoPad::kValid;
  else if (auto_pad != "NOTSET" && !auto_pad.empty())
    return std::nullopt;
  a.ceil_mode = node.attr_int("ceil_mode", 0) != 0;
  if (!within(a.kernel, 1) || !within(a.strides, 1) || !within(a.dilations, 1) ||
      !within(a.pads, 0))
    return std::nullopt;
  return a;
}

std::optional<Windows> resolve_windows(const WindowAttributes& a, std::span<const int64_t> in,
                                       std::span<const int64_t> kernel) {
  const size_t rank = in.size();
  if (rank < 1 || rank > 3 || kernel.size() != rank) return std::nullopt;
  if ((!a.strides.empty() && a.strides.size() != rank) ||
      (!a.dilations.empty() && a.dilations.size() != rank) ||
      (!a.pads.empty() && a.pads.size() != 2 * rank) ||
      (!a.kernel.empty() &&
       !std::equal(kernel.begin(), kernel.end(), a.kernel.begin(), a.kernel.end())))
    return std::nullopt;
  Windows w;
  const auto add = [&w](int64_t extent, int64_t out, int64_t taps, int64_t stride, int64_t dilation,
                        int64_t begin, int64_t end) {
    w.in.push_back(extent);
    w.out.push_back(out);
    w.kernel.push_back(taps);
    w.strides.push_back(stride);
    w.dilations.push_back(dilation);
    w.pads_begin.push_back(begin);
    w.pads_end.push_back(end);
  };
  if (rank == 1) add(1, 1, 1, 1, 1, 0, 0);
  for (size_t i = 0; i < rank; ++i) {
    const int64_t stride = a.strides.empty() ? 1 : a.strides[i];
    // One tap has no distance to the next.
    const int64_t dilation = a.dilations.empty() || kernel[i] == 1 ? 1 : a.dilations[i];
    if (kernel[i] < 1 || kernel[i] > kMost || in[i] < 1 || in[i] > kMost) return std::nullopt;
    const int64_t reach = (kernel[i] - 1) * dilation + 1;
    int64_t begin = a.pads.empty() ? 0 : a.pads[i], end = a.pads.empty() ? 0 : a.pads[rank + i],
            out = 0;
    if (a.auto_pad == AutoPad::kSameUpper || a.auto_pad == AutoPad::kSameLower) {
      out = (in[i] + stride - 1) / stride;
      const int64_t total = std::max<int64_t>((out - 1) * stride + reach - in[i], 0);
      begin = a.auto_pad == AutoPad::kSameUpper ? total / 2 : total - total / 2;
      end = total - begin;
    } else {
      if (a.auto_pad == AutoPad::kValid) begin = end = 0;
      const int64_t room = in[i] + begin + end - reach;
      if (room < 0) return std::nullopt;
      out = room / stride + 1;
      // The last window, partly outside, counts unless it starts in the padding.
      if (a.ceil_mode && a.auto_pad != AutoPad::kValid && room % stride != 0 &&
          out * stride < in[i] + begin)
        ++out;
    }
    add(in[i], out, kernel[i], stride, dilation, begin, end);
  }
  return w;
}

std::string dims_text(std::span<const int64_t> dims) {
  std::string s = "[";
  for (size_t i = 0; i < dims.size(); ++i) s += (i ? ", " : "") + std::to_string(dims[i]);
  return s + "]";
}

}  // namespace onnxtool
