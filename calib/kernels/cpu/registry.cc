// Builds the kernel table from kernels.def. An explicit list, so that a static library cannot drop
// an entry and `grep` finds them all.

#include <iterator>

#include "calib/kernels/cpu/cpu_kernels.h"

namespace onnxtool {

#define KERNEL(id) extern const KernelInfo id;
#include "calib/kernels/cpu/kernels.def"
#undef KERNEL

namespace {
#define KERNEL(id) &id,
constexpr const KernelInfo* kAll[] = {
#include "calib/kernels/cpu/kernels.def"
};
#undef KERNEL
}  // namespace

const KernelSet& cpu_kernel_set() {
  static constexpr KernelSet kSet{.name = "cpu", .space = MemorySpace::kHost, .kernels = kAll, .isa = "generic"};
  return kSet;
}

}  // namespace onnxtool
