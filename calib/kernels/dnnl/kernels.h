// The kernels of this module, as kernels.def lists them.
#pragma once

#include "calib/exec/kernel.h"

namespace onnxtool {

#define KERNEL(id) extern const KernelInfo id;
#include "calib/kernels/dnnl/kernels.def"
#undef KERNEL

}  // namespace onnxtool
