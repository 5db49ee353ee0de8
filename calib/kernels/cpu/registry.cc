// Builds the kernel tables from kernels.def. An explicit list, so that a static library cannot drop
// an entry and `grep` finds them all.

#include "calib/kernels/cpu/cpu_kernels.h"
#include "calib/kernels/cpu/gemm_kernel.h"

namespace onnxtool {

namespace {
#define KERNEL(id) &id,
#define KERNEL_BY_ISA(id) &id,
constexpr const KernelInfo* kAll[] = {
#include "calib/kernels/cpu/kernels.def"
};
#undef KERNEL_BY_ISA
#define KERNEL_BY_ISA(id) &id##Portable,
constexpr const KernelInfo* kAllPortable[] = {
#include "calib/kernels/cpu/kernels.def"
};
#undef KERNEL_BY_ISA
#undef KERNEL
}  // namespace

const KernelSet& cpu_kernel_set() {
  static const KernelSet kSet{
      .name = "cpu", .space = MemorySpace::kHost, .kernels = kAll, .isa = gemm_isa().name};
  return kSet;
}

const KernelSet& cpu_kernel_set_portable() {
  static constexpr KernelSet kSet{
      .name = "cpu", .space = MemorySpace::kHost, .kernels = kAllPortable, .isa = "portable"};
  return kSet;
}

}  // namespace onnxtool
