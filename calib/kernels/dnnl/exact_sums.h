// Which integer products oneDNN adds up exactly.
#pragma once

#include "calib/exec/kernel.h"

namespace onnxtool {

/// Whether no sum of 8-bit codes times these constant ones can leave the integers that float holds.
/// oneDNN takes what signed sources and zero points add off again in float, so for those only such
/// sums are exact. `weights` is [outputs, ...] or, transposed, [..., outputs]; unsigned ones count
/// from 128.
bool sums_fit_float(const ConstView& weights, int64_t outputs, bool transposed);

}  // namespace onnxtool
