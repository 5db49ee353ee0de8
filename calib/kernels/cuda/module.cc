// The entry points of a device's module.

#include <array>
#include <utility>

#include "calib/kernels/cuda/backend.h"
#include "calib/kernels/cuda/dnn.h"
#include "calib/kernels/cuda/elements.h"
#include "calib/kernels/cuda/product.h"

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

}  // namespace

namespace {

constexpr const device::ReducedKernels* kReduced[] = {
    &kReducedMatMul,        &kReducedFusedMatMul,
    &kReducedGemm,          &kReducedFusedGemm,
    &kReducedConv,          &kReducedFusedConv,
    &kReducedConvTranspose, &kReducedAttention,
    &kReducedHeadAttention, &kReducedMultiHeadAttention,
    &kReducedMsAttention,   &kReducedGroupQueryAttention,
    &kReducedEinsum};

// What holds for all kernels: types that a device reads, and few axes.
bool device_can_read(const NodeView& node) {
  for (int k = 0; k < node.num_inputs(); ++k)
    if (node.has_input(k) && (!device::is_device_type(node.input_dtype(k)) ||
                              node.input_dims(k).size() > device::kMostAxes))
      return false;
  return true;
}

template <size_t i>
bool accepts(const NodeView& node) {
  return device_can_read(node) && (!kAll[i]->accepts || kAll[i]->accepts(node));
}
template <size_t i>
bool accepts_reduced(const NodeView& node) {
  const KernelInfo& info = kReduced[i]->tf32;
  return device_can_read(node) && (!info.accepts || info.accepts(node));
}

// Layouts of blocked channels belong to the host's kernels.
KernelInfo restricted(KernelInfo info, bool (*accepts)(const NodeView&)) {
  info.accepts = accepts;
  info.takes_layout = nullptr;
  return info;
}
template <size_t... i>
std::array<KernelInfo, kCount> all_restricted(std::index_sequence<i...>) {
  return {restricted(*kAll[i], accepts<i>)...};
}

template <size_t count>
std::array<const KernelInfo*, count> pointers_to(const std::array<KernelInfo, count>& infos) {
  std::array<const KernelInfo*, count> list{};
  for (size_t i = 0; i < count; ++i) list[i] = &infos[i];
  return list;
}

/// Products and convolutions only, in one precision.
class ReducedSet {
 public:
  ReducedSet(std::string_view name, KernelInfo device::ReducedKernels::*precision)
      : infos_(restricted_in(precision, std::make_index_sequence<std::size(kReduced)>())),
        table_(pointers_to(infos_)),
        set_{.name = name,
             .space = MemorySpace::kDevice,
             .kernels = table_,
             .device = &device::api(),
             .isa = device::architecture()} {}
  const KernelSet* get() const { return &set_; }

 private:
  using Infos = std::array<KernelInfo, std::size(kReduced)>;
  template <size_t... i>
  static Infos restricted_in(KernelInfo device::ReducedKernels::*precision,
                             std::index_sequence<i...>) {
    return {restricted(kReduced[i]->*precision, accepts_reduced<i>)...};
  }
  Infos infos_;
  std::array<const KernelInfo*, std::size(kReduced)> table_;
  KernelSet set_;
};

}  // namespace
}  // namespace onnxtool

extern "C" __attribute__((visibility("default"))) const onnxtool::KernelSet* onnxtool_kernel_set(
    int abi) {
  using namespace onnxtool;
  if (abi != kKernelAbi) return nullptr;
  static const auto infos = all_restricted(std::make_index_sequence<kCount>());
  static const auto table = pointers_to(infos);
  static const KernelSet set{.name = "cuda",
                             .space = MemorySpace::kDevice,
                             .kernels = table,
                             .device = &device::api(),
                             .isa = device::architecture()};
  return &set;
}

/// Products and convolutions of float32 whose operands are rounded to "tf32", "bf16" or "fp16"; to
/// stand before the set above. nullptr: another ABI or precision.
extern "C" __attribute__((visibility("default"))) const onnxtool::KernelSet*
onnxtool_reduced_kernel_set(int abi, const char* precision) {
  using namespace onnxtool;
  if (abi != kKernelAbi) return nullptr;
  static const ReducedSet tf32("cuda-tf32", &device::ReducedKernels::tf32),
      bf16("cuda-bf16", &device::ReducedKernels::bf16),
      fp16("cuda-fp16", &device::ReducedKernels::fp16);
  const std::string_view wanted(precision);
  return wanted == "tf32"   ? tf32.get()
         : wanted == "bf16" ? bf16.get()
         : wanted == "fp16" ? fp16.get()
                            : nullptr;
}

/// Before anything else: chooses the device. nullptr, or the reason why it cannot be used.
extern "C" __attribute__((visibility("default"))) const char* onnxtool_use_device(int index) {
  return onnxtool::device::use_device(index);
}

/// Once a device is chosen: why it has no library of convolutions. nullptr: it has one.
extern "C" __attribute__((visibility("default"))) const char* onnxtool_device_lacks_library() {
  return onnxtool::device::library_refusal();
}

extern "C" __attribute__((visibility("default"))) const onnxtool::RecorderApi* onnxtool_recorder() {
  return &onnxtool::device::recorder();
}
