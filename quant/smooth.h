// SmoothQuant: channels that reach far are made smaller before products read them in 8 bits.
//
// One range serves all channels of an activation, so a few that reach far leave few codes to the
// others; each row of a product's weights has a scale of its own. With factors
//
//   s_k = max|x_k|^a / max|W_k|^(1 - a)
//
// x / s and s W need less: the product stays the same up to rounding. The division goes into what
// makes x (channel_scales.h); a product whose input nothing can divide stays as it is.
//
// Source: Xiao et al., "SmoothQuant: Accurate and Efficient Post-Training Quantization for Large
// Language Models" (2022), section 4.
#pragma once

#include <optional>

#include "calib/ranges/collect.h"
#include "libopt/ir/model.h"
#include "quant/placement.h"

namespace onnxtool {

/// Smooths what integer products of `placement` read, in place; only constants change. Without
/// `strength` (a above) each value gets the one that is predicted to leave the least noise, none
/// among them. Returns how many values were divided; the same for any thread count.
Result<int> smooth(Model& model, const Placement& placement, std::optional<double> strength,
                   const SampleSource& source, const RunOptions& run);

}  // namespace onnxtool
