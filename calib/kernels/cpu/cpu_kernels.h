// The built-in kernel set: every operator in portable C++, the reference for all other sets.
#pragma once

#include "calib/exec/kernel.h"

namespace onnxtool {

/// The table of kernels.def. Constant for the life of the process.
const KernelSet& cpu_kernel_set();

}  // namespace onnxtool
