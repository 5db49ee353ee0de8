// Kernels' preparation: the part of compiling a plan that takes time.
#pragma once

#include <span>

#include "calib/exec/plan_impl.h"

namespace onnxtool {

/// Lets every step's kernel decode and prepack, in parallel. Aligned copies of constants go as soon
/// as the last step that could want them has been prepared, so that they never exist all at once.
/// The error is that of the first step that has one.
Status prepare_steps(std::span<Step> steps);

}  // namespace onnxtool
