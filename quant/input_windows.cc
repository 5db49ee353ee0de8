#include "quant/input_windows.h"

#include <algorithm>
#include <vector>

#include "calib/kernels/cpu/window.h"

namespace onnxtool {
namespace {

Dims ints(const Node& node, const char* name) {
  const Attribute* a = node.attribute(name);
  const auto* values = a ? a->get<std::vector<int64_t>>() : nullptr;
  return values ? *values : Dims();
}

WindowAttributes attributes_of(const Node& conv) {
  WindowAttributes a{ints(conv, "kernel_shape"), ints(conv, "strides"), ints(conv, "dilations"),
                     ints(conv, "pads")};
  const auto pad = conv.attr<std::string>("auto_pad", "NOTSET");
  a.auto_pad = pad == "SAME_UPPER"   ? AutoPad::kSameUpper
               : pad == "SAME_LOWER" ? AutoPad::kSameLower
               : pad == "VALID"      ? AutoPad::kValid
                                     : AutoPad::kNotSet;
  return a;
}

// The window of one image at an output position, channel by channel.
void read_window(const Window& w, const float* image, int64_t channels, const Spatial& at,
                 float* out) {
  const int64_t pixels = volume(w.in);
  for (int64_t c = 0; c < channels; ++c, image += pixels)
    for (int64_t a = 0; a < w.kernel[0]; ++a)
      for (int64_t b = 0; b < w.kernel[1]; ++b)
        for (int64_t d = 0; d < w.kernel[2]; ++d) {
          const int64_t i = at[0] * w.stride[0] - w.pad_begin[0] + a * w.dilation[0],
                        j = at[1] * w.stride[1] - w.pad_begin[1] + b * w.dilation[1],
                        k = at[2] * w.stride[2] - w.pad_begin[2] + d * w.dilation[2];
          const bool inside =
              i >= 0 && i < w.in[0] && j >= 0 && j < w.in[1] && k >= 0 && k < w.in[2];
          *out++ = inside ? image[(i * w.in[1] + j) * w.in[2] + k] : 0;
        }
}

}  // namespace

Status for_each_window(const Node& conv, const ConstView& x, int64_t most,
                       const std::function<void(int64_t, std::span<const float>)>& body) {
  const Dims& weights = conv.input(1).constant()->dims();
  const int64_t groups = conv.attr<int64_t>("group", 1);
  if (x.rank() < 3 || x.rank() != static_cast<int64_t>(weights.size()) ||
      x.dims[1] != weights[1] * groups)
    return Error{
        ErrorCode::kMismatch, "the channels of its input are not those of its weights", {}};
  ONNXTOOL_ASSIGN(const Window w,
                  resolve_window(attributes_of(conv), x.dims, std::span(weights).subspan(2)));
  const int64_t pixels = volume(w.out), all = x.dims[0] * pixels;
  const int64_t count = std::min(all, most), image = x.dims[1] * volume(w.in);
  std::vector<float> window(static_cast<size_t>(weights[1] * volume(w.kernel)));
  for (int64_t i = 0; i < count; ++i) {
    const int64_t at = i * all / count, p = at % pixels;
    const Spatial position = {p / (w.out[1] * w.out[2]), p / w.out[2] % w.out[1], p % w.out[2]};
    for (int64_t g = 0; g < groups; ++g) {
      read_window(w, x.as<float>().data() + at / pixels * image + g * weights[1] * volume(w.in),
                  weights[1], position, window.data());
      body(g, window);
    }
  }
  return {};
}

}  // namespace onnxtool
