// A window (cpu/window.h) as launch parameters.
#pragma once

#include "calib/kernels/cpu/window.h"
#include "calib/kernels/cuda/elements.h"

namespace onnxtool::device {

struct DeviceWindow {
  int64_t in[3], stride[3], dilation[3], pad[3], pad_end[3];
  Divider out[3], kernel[3], pixels;  // positions along each axis, and all

  explicit DeviceWindow(const Window& w) {
    for (int a = 0; a < 3; ++a) {
      const auto i = static_cast<size_t>(a);
      in[a] = w.in[i], stride[a] = w.stride[i];
      out[a] = Divider(w.out[i]), kernel[a] = Divider(w.kernel[i]);
      dilation[a] = w.dilation[i], pad[a] = w.pad_begin[i], pad_end[a] = w.pad_end[i];
    }
    pixels = Divider(out_size());
  }
  ONNXTOOL_HD int64_t in_size() const { return in[0] * in[1] * in[2]; }
  ONNXTOOL_HD int64_t out_size() const { return out[0].by() * out[1].by() * out[2].by(); }
  ONNXTOOL_HD int64_t taps() const { return kernel[0].by() * kernel[1].by() * kernel[2].by(); }
  /// Offset in the input plane that tap `t` of output position `p` sees; -1: padding.
  ONNXTOOL_HD int64_t at(int64_t p, int64_t t) const {
    int64_t offset = 0, scale = 1;
    for (int a = 2; a >= 0; --a) {
      const int64_t i = out[a].split(p) * stride[a] - pad[a] + kernel[a].split(t) * dilation[a];
      if (i < 0 || i >= in[a]) return -1;
      offset += i * scale;
      scale *= in[a];
    }
    return offset;
  }
  /// Elements that an average at `p` is over: those that exist or, with count_pads, those within
  /// the padded input.
  ONNXTOOL_HD int64_t count(int64_t p, bool count_pads) const {
    int64_t product = 1;
    for (int a = 2; a >= 0; --a) {
      const int64_t o = out[a].split(p);
      int64_t seen = 0;
      const int64_t end = count_pads ? in[a] + pad_end[a] : in[a], begin = count_pads ? -pad[a] : 0;
      for (int64_t t = 0; t < kernel[a].by(); ++t) {
        const int64_t i = o * stride[a] - pad[a] + t * dilation[a];
        seen += i >= begin && i < end;
      }
      product *= seen;
    }
    return product;
  }
};

}  // namespace onnxtool::device
