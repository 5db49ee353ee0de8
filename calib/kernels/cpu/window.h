// Geometry of sliding windows: kernel, strides, dilations and padding of convolutions and pooling.
#pragma once

#include <array>

#include "calib/kernels/cpu/common.h"

namespace onnxtool {

/// Spatial axes are normalized to three, leading ones with extent 1, so that 1-D, 2-D and 3-D share
/// their loops.
inline constexpr int kSpatial = 3;
using Spatial = std::array<int64_t, kSpatial>;

inline int64_t volume(const Spatial& s) { return s[0] * s[1] * s[2]; }
inline int64_t plane(const Spatial& s) { return s[1] * s[2]; }

enum class AutoPad : uint8_t { kNotSet, kSameUpper, kSameLower, kValid };

/// The attributes as written; what depends on the rank of the input is checked in resolve_window().
struct WindowAttributes {
  Dims kernel, strides, dilations, pads;  // empty: absent
  AutoPad auto_pad = AutoPad::kNotSet;
  bool ceil_mode = false;
};
Result<WindowAttributes> window_attributes(const NodeView& node);

/// A window over an input of known extents. Position o of the output sees the input at
/// o * stride - pad_begin + k * dilation for k < kernel, where that lies inside [0, in).
struct Window {
  int rank = 0;  // spatial axes of the tensor, 1..3
  Spatial in{1, 1, 1}, out{1, 1, 1}, kernel{1, 1, 1}, stride{1, 1, 1}, dilation{1, 1, 1};
  Spatial pad_begin{0, 0, 0}, pad_end{0, 0, 0};

  /// Whether a window can reach outside the input.
  bool padded() const;
  /// Extent of the input, from -pad_begin, that the windows cover.
  int64_t covered(int axis) const {
    return out[at(axis)] == 0 ? 0
                              : (out[at(axis)] - 1) * stride[at(axis)] +
                                    (kernel[at(axis)] - 1) * dilation[at(axis)] + 1;
  }
  /// The taps [first, last) of axis that see the input from output position o.
  std::pair<int64_t, int64_t> taps(int axis, int64_t o) const;
  /// [batch, channels, out...].
  Dims output_dims(int64_t batch, int64_t channels) const;

 private:
  static size_t at(int axis) { return static_cast<size_t>(axis); }
};

/// `dims` is the input's [N, C, spatial...], `kernel` the spatial extents of the window.
Result<Window> resolve_window(const WindowAttributes& attributes, std::span<const int64_t> dims,
                              std::span<const int64_t> kernel);

/// Checks an attribute of one value for each spatial axis and writes it to the trailing axes of
/// `to`; an absent one leaves what is there.
Status spread_attribute(std::span<const int64_t> values, int rank, std::string_view what,
                        int64_t lowest, Spatial& to);

}  // namespace onnxtool
