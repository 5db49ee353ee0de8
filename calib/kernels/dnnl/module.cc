// The entry point of onnxtool-dnnl.so.
#include "calib/kernels/dnnl/engine.h"
#include "calib/kernels/dnnl/kernels.h"

namespace onnxtool {
namespace {
#define KERNEL(id) &id,
constexpr const KernelInfo* kAll[] = {
#include "calib/kernels/dnnl/kernels.def"
};
#undef KERNEL
}  // namespace
}  // namespace onnxtool

extern "C" __attribute__((visibility("default"))) const onnxtool::KernelSet* onnxtool_kernel_set(
    int abi) {
  using namespace onnxtool;
  if (abi != kKernelAbi || !dnnl_usable()) return nullptr;
  try {
    static const KernelSet set{.name = "dnnl",
                               .space = MemorySpace::kHost,
                               .kernels = kAll,
                               .device = nullptr,
                               .isa = dnnl_isa()};
    host_engine();
    return &set;
  } catch (const dnnl::error&) {
    return nullptr;
  }
}
