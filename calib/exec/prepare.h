// The end of compiling a plan: kernels are prepared, which takes time, and values get their ends.
#pragma once

#include <span>

#include "calib/exec/plan_impl.h"

namespace onnxtool {

/// Lets every step's kernel decode and prepack, in parallel. Aligned copies of constants go as soon
/// as the last step that could want them has been prepared, so that they never exist all at once.
/// The error is that of the first step that has one.
Status prepare_steps(std::span<Step> steps);

/// After which step each slot is free: last_step_of_slot, and the steps' releases.
void find_last_uses(Plan::Impl& plan);

}  // namespace onnxtool
