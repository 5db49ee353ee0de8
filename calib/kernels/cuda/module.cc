// The entry points of a device's module.

#include <array>
#include <utility>

#include "calib/kernels/cuda/backend.h"
#include "calib/kernels/cuda/elements.h"

namespace onnxtool {

#define KERNEL(id) extern const KernelInfo id;
#include "calib/kernels/cuda/kernels.def"
#undef KERNEL

namespace {

#define KERNEL(id) &id,
constexpr const KernelInfo* kAll[] = {
#include "calib/kernels/cuda/kernels.def"
};
#undef KERNEL
constexpr size_t kCount = std::size(kAll);

// Every kernel's own condition, and what holds for all: types that a device reads, and few axes.
template <size_t i>
bool accepts(const NodeView& node) {
  for (int k = 0; k < node.num_inputs(); ++k)
    if (node.has_input(k) && (!device::is_device_type(node.input_dtype(k)) ||
                              node.input_dims(k).size() > device::kMostAxes))
      return false;
  return !kAll[i]->accepts || kAll[i]->accepts(node);
}

template <size_t... i>
std::array<KernelInfo, kCount> restricted(std::index_sequence<i...>) {
  std::array<KernelInfo, kCount> infos{*kAll[i]...};
  ((infos[i].accepts = accepts<i>), ...);
  // Layouts of blocked channels belong to the host's kernels.
  for (KernelInfo& info : infos) info.takes_layout = nullptr;
  return infos;
}

}  // namespace
}  // namespace onnxtool

extern "C" __attribute__((visibility("default"))) const onnxtool::KernelSet* onnxtool_kernel_set(
    int abi) {
  using namespace onnxtool;
  if (abi != kKernelAbi) return nullptr;
  static const std::array<KernelInfo, kCount> infos =
      restricted(std::make_index_sequence<kCount>());
  static const std::array<const KernelInfo*, kCount> table = [] {
    std::array<const KernelInfo*, kCount> list{};
    for (size_t i = 0; i < kCount; ++i) list[i] = &infos[i];
    return list;
  }();
  static const KernelSet set{.name = "cuda",
                             .space = MemorySpace::kDevice,
                             .kernels = table,
                             .device = &device::api(),
                             .isa = device::architecture()};
  return &set;
}

/// Before anything else: chooses the device. nullptr, or the reason why it cannot be used.
extern "C" __attribute__((visibility("default"))) const char* onnxtool_use_device(int index) {
  return onnxtool::device::use_device(index);
}
