// Convolutions and pools by a library: cuDNN in the module, loops where tests stand in for one.
//
// Whoever asks is told `false` where there is no library or it cannot do this, and computes the
// same by itself. What is asked for follows from shapes alone, and so does the answer.
#pragma once

#include <optional>
#include <string>

#include "calib/kernels/cpu/window.h"
#include "calib/kernels/cuda/elements.h"

namespace onnxtool::device {

/// nullptr: the library is used. Else why it is not, as part of a sentence.
const char* library_refusal();
/// As range files name it, such as "cuDNN 9.28.1".
std::string library_name();

/// A window as a library takes it: as much padding behind an axis as before it. The first `axes`
/// entries count.
struct DnnWindow {
  int axes = 2;  // 2 or 3
  int in[3], out[3], kernel[3], stride[3], dilation[3], pad[3];
};

/// nullopt where equal paddings would make another output: padding that differs, unless windows
/// stop before the difference; ceil_mode, where it rounds up; pads below 0; nothing to compute; and
/// extents beyond 2^31.
inline std::optional<DnnWindow> dnn_window(const Window& w) {
  constexpr int64_t kMost = INT32_MAX / 4;
  const bool flat = w.in[0] == 1 && w.kernel[0] == 1 && w.stride[0] == 1 && w.pad_begin[0] == 0 &&
                    w.pad_end[0] == 0 && w.out[0] == 1;
  DnnWindow d;
  d.axes = flat ? 2 : 3;
  for (int a = 0; a < d.axes; ++a) {
    const auto i = static_cast<size_t>(kSpatial - d.axes + a);
    for (const int64_t extent : {w.in[i], w.out[i], w.kernel[i], w.stride[i], w.dilation[i]})
      if (extent < 1 || extent > kMost) return std::nullopt;
    const int64_t reach = (w.kernel[i] - 1) * w.dilation[i] + 1, pad = w.pad_begin[i];
    if (pad < 0 || pad > kMost || w.in[i] + 2 * pad < reach) return std::nullopt;
    if (1 + (w.in[i] + 2 * pad - reach) / w.stride[i] != w.out[i]) return std::nullopt;
    d.in[a] = static_cast<int>(w.in[i]), d.out[a] = static_cast<int>(w.out[i]);
    d.kernel[a] = static_cast<int>(w.kernel[i]), d.stride[a] = static_cast<int>(w.stride[i]);
    d.dilation[a] = static_cast<int>(w.dilation[i]), d.pad[a] = static_cast<int>(pad);
  }
  return d;
}

/// y = activation(conv(x, weights) + bias + added), sums in float, rounded once. Plain layouts:
/// x [batch, channels, in...], weights [out_channels, channels / group, kernel...],
/// y [batch, out_channels, out...].
struct DnnConvolution {
  DnnWindow window;
  DataType type = DataType::kFloat;  // of all tensors: float, float16 or bfloat16
  bool tf32 = false;                 // float operands may be rounded to 10 bits of mantissa
  int64_t batch = 0, channels = 0, out_channels = 0, group = 1;
  const void *x = nullptr, *weights = nullptr;
  const void* bias = nullptr;   // [out_channels]; nullptr: none, and then nothing else either
  const void* added = nullptr;  // as y; only where relu
  bool relu = false;
  void* y = nullptr;
};
Result<bool> convolve(KernelContext& ctx, const DnnConvolution& c);

/// Pools of float, float16 or bfloat16 whose windows all see an element.
struct DnnPool {
  enum class Kind : uint8_t { kMax, kAverage, kAverageWithPads };
  Kind kind = Kind::kMax;
  DnnWindow window;
  DataType type = DataType::kFloat;
  int64_t batch = 0, channels = 0;
  const void* x = nullptr;
  void* y = nullptr;
};
Result<bool> pool(KernelContext& ctx, const DnnPool& p);

/// Whether pools of `w` can be asked for: no dilation, and no window that lies in the padding. With
/// `count_pads` none reaches past it either, since divisors are then whole windows.
inline std::optional<DnnWindow> dnn_pool_window(const Window& w, bool count_pads) {
  for (int a = 0; a < kSpatial; ++a) {
    const auto i = static_cast<size_t>(a);
    if (w.dilation[i] != 1 && w.kernel[i] != 1) return std::nullopt;
    if (w.pad_begin[i] >= w.kernel[i]) return std::nullopt;
    if (count_pads && w.covered(a) > w.in[i] + w.pad_begin[i] + w.pad_end[i]) return std::nullopt;
  }
  return dnn_window(w);
}

}  // namespace onnxtool::device
