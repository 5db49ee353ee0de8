// What a Resize or Upsample node says: its attributes, and how far each axis goes.
#pragma once

#include <memory>
#include <string>

#include "calib/kernels/cpu/resize_axis.h"

namespace onnxtool {

struct ResizeState final : KernelState {
  ResizeOptions options;
  float extrapolation = 0;
  Dims axes;  // empty: all
  std::string keep_aspect_ratio = "stretch";
};

Result<std::unique_ptr<KernelState>> prepare_resize(const NodeView& node);

/// Output extent and scale of each axis of input 0, from scales, sizes and roi: which input holds
/// them depends on the operator and its version.
Result<std::vector<ResizeExtent>> resize_extents(KernelContext& ctx, const ResizeState& state);

}  // namespace onnxtool
