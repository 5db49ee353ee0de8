// The kernels of this module, as kernels.def and bf16_kernels.def list them.
#pragma once

#include "calib/exec/kernel.h"

namespace onnxtool {

#define KERNEL(id) extern const KernelInfo id;
#include "calib/kernels/dnnl/kernels.def"
#include "calib/kernels/dnnl/bf16_kernels.def"
#undef KERNEL

}  // namespace onnxtool
