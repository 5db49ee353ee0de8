// The built-in kernel set: every operator in portable C++, the reference for all other sets.
#pragma once

#include "calib/exec/kernel.h"

namespace onnxtool {

// Declares every kernel: a constant without a declaration would be local to its file.
#define KERNEL(id) extern const KernelInfo id;
#define KERNEL_BY_ISA(id) extern const KernelInfo id, id##Portable;
#include "calib/kernels/cpu/kernels.def"
#undef KERNEL_BY_ISA
#undef KERNEL

/// The table of kernels.def, dispatched to this machine. Constant for the life of the process.
const KernelSet& cpu_kernel_set();
/// The same operators with results that are the same bits on every machine: for what is written
/// into models.
const KernelSet& cpu_kernel_set_portable();

}  // namespace onnxtool
