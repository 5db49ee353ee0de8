#include "tests/support/fake_device.h"

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "calib/kernels/cpu/cpu_kernels.h"

namespace onnxtool::testing {
namespace {

std::atomic<int64_t> g_copies{0}, g_live{0};

void* allocate(size_t size) {
  ++g_live;
  return std::aligned_alloc(64, (size + 63) / 64 * 64);
}

void release(void* p) {
  --g_live;
  std::free(p);
}

Status to_device(void* device, const void* host, size_t size) {
  ++g_copies;
  std::memcpy(device, host, size);
  return {};
}

Status to_host(void* host, const void* device, size_t size) {
  return to_device(host, device, size);
}

constexpr DeviceApi kApi{allocate, release, to_device, to_host};

// Operators that this device lacks: they run on the host, between others that do not.
bool missing(const KernelInfo& k) {
  return k.op == "Relu" || k.op == "Concat" || k.op == "Softmax" || k.op == "Shape";
}

}  // namespace

const KernelSet& fake_device_set() {
  static const std::vector<const KernelInfo*> kernels = [] {
    std::vector<const KernelInfo*> list;
    for (const KernelInfo* k : cpu_kernel_set().kernels)
      if (!missing(*k)) list.push_back(k);
    return list;
  }();
  static const KernelSet set{.name = "fake",
                             .space = MemorySpace::kDevice,
                             .kernels = kernels,
                             .device = &kApi,
                             .isa = "fake"};
  return set;
}

int64_t fake_device_copies() { return g_copies; }
int64_t fake_device_live() { return g_live; }

}  // namespace onnxtool::testing
