// Pad: which element of the input an element of the output shows.
#pragma once

#include "calib/kernels/cpu/convert.h"

namespace onnxtool {

enum class PadMode { kConstant, kReflect, kEdge, kWrap };

/// For an index from the first element of the input on; -1: the fill value.
ONNXTOOL_HD inline int64_t source_index(PadMode mode, int64_t i, int64_t extent) {
  if (i >= 0 && i < extent) return i;
    switch (mode) {
    case PadMode::kEdge: return i < 0 ? 0 : extent - 1;
    case PadMode::kWrap: return (i % extent + extent) % extent;
    case PadMode::kReflect: {
      if (extent == 1) return 0;
      const int64_t m = (i % (2 * extent - 2) + (2 * extent - 2)) % (2 * extent - 2);
      return m < extent ? m : 2 * extent - 2 - m;
    }
    case PadMode::kConstant: break;
  }
  return -1;
}

Result<PadMode> pad_mode_of(const NodeView& node);
/// pads of every axis, [begins..., ends...], from the input, the attribute of Pad-1 (`paddings`) or
/// Pad-2 (`pads`), and the axes of Pad-18.
Result<Dims> all_pads(const KernelContext& ctx);
/// The output's extents.
Result<Dims> padded_dims(std::span<const int64_t> x, std::span<const int64_t> pads, PadMode mode);

}  // namespace onnxtool
