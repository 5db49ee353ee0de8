// Attributes of sliding windows and the extents that follow from them.
#pragma once

#include <algorithm>
#include <optional>
#include <string_view>
#include <vector>

#include "calib/exec/kernel.h"
#include "libopt/support/checked.h"

namespace onnxtool {

enum class AutoPad : uint8_t { kNotSet, kSameUpper, kSameLower, kValid };

/// Attributes as written, one value per spatial axis; empty: absent.
struct WindowAttributes {
  std::vector<int64_t> kernel, strides, dilations, pads;
  AutoPad auto_pad = AutoPad::kNotSet;
  bool ceil_mode = false;
};

/// Windows over an input of known extents; 1-D windows get a leading axis of extent 1.
struct Windows {
  std::vector<int64_t> in, out, kernel, strides, dilations, pads_begin, pads_end;
};

/// nullopt: values that this module leaves to the cpu kernels, which report what is wrong with
/// them.
std::optional<WindowAttributes> window_attributes(const NodeView& node);

/// `in` are spatial extents. nullopt: attributes of another rank, or no window fits.
std::optional<Windows> resolve_windows(const WindowAttributes& attributes,
                                       std::span<const int64_t> in,
                                       std::span<const int64_t> kernel);

/// Whether channels-last and plain are the same bytes: one channel, or one pixel.
inline bool is_same_in_both_layouts(std::span<const int64_t> dims) {
  if (dims.size() < 3) return true;
  return dims[1] == 1 ||
         std::all_of(dims.begin() + 2, dims.end(), [](int64_t d) { return d == 1; });
}

/// `[1, 64, 56, 56]`, for messages.
std::string dims_text(std::span<const int64_t> dims);

}  // namespace onnxtool
