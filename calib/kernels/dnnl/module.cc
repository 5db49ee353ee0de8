// The entry points of onnxtool-dnnl.so.
#include "calib/kernels/dnnl/bf16.h"
#include "calib/kernels/dnnl/engine.h"
#include "calib/kernels/dnnl/kernels.h"

namespace onnxtool {
namespace {
#define KERNEL(id) &id,
constexpr const KernelInfo* kAll[] = {
#include "calib/kernels/dnnl/kernels.def"
};
constexpr const KernelInfo* kAllBf16[] = {
#include "calib/kernels/dnnl/bf16_kernels.def"
};
#undef KERNEL

// Whether the module fits this build and this machine.
bool is_usable(int abi) {
  if (abi != kKernelAbi || !dnnl_usable()) return false;
  try {
    host_engine();
    return true;
  } catch (const dnnl::error&) {
    return false;
  }
}
}  // namespace
}  // namespace onnxtool

extern "C" __attribute__((visibility("default"))) const onnxtool::KernelSet* onnxtool_kernel_set(
    int abi) {
  using namespace onnxtool;
  if (!is_usable(abi)) return nullptr;
  static const KernelSet set{.name = "dnnl",
                             .space = MemorySpace::kHost,
                             .kernels = kAll,
                             .device = nullptr,
                             .isa = dnnl_isa()};
  return &set;
}

extern "C" __attribute__((visibility("default"))) const onnxtool::KernelSet*
onnxtool_bf16_kernel_set(int abi) {
  using namespace onnxtool;
  if (!is_usable(abi) || !has_bf16()) return nullptr;
  static const KernelSet set{.name = "dnnl-bf16",
                             .space = MemorySpace::kHost,
                             .kernels = kAllBf16,
                             .device = nullptr,
                             .isa = dnnl_isa()};
  return &set;
}
