// Codes of uint8 over the range of a tensor and 0, as DynamicQuantizeLinear makes them.
#pragma once

#include "calib/kernels/cuda/device.h"

namespace onnxtool::device {

/// All of device memory: one scale and zero point, `count` codes.
Status quantize_by_range(KernelContext& ctx, const float* x, int64_t count, float* scale,
                         uint8_t* zero_point, uint8_t* codes);

}  // namespace onnxtool::device
