#include "tests/support/fake_device.h"

#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <utility>
#include <vector>

#include "calib/kernels/cpu/cpu_kernels.h"

namespace onnxtool::testing {
namespace {

std::atomic<int64_t> g_copies{0}, g_live{0}, g_violations{0};

// Device addresses are no addresses of the host: whoever reads one there stops with a fault.
constexpr uintptr_t kTag = uintptr_t{1} << 62;

bool is_tagged(const void* p) { return (reinterpret_cast<uintptr_t>(p) & kTag) != 0; }
void* untagged(const void* p) {
  if (!is_tagged(p)) ++g_violations;
  return reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(p) & ~kTag);
}

void* allocate(size_t size) {
  ++g_live;
  void* p = std::aligned_alloc(64, (size + 63) / 64 * 64);
  return reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(p) | kTag);
}

void release(void* p) {
  --g_live;
  std::free(untagged(p));
}

Status to_device(void* device, const void* host, size_t size) {
  ++g_copies;
  if (is_tagged(host)) ++g_violations;
  std::memcpy(untagged(device), host, size);
  return {};
}

Status to_host(void* host, const void* device, size_t size) {
  ++g_copies;
  if (is_tagged(host)) ++g_violations;
  std::memcpy(host, untagged(device), size);
  return {};
}

constexpr DeviceApi kApi{allocate, release, to_device, to_host, [] { return Status(); }};

// What this device's kernels see: its memory as if it were theirs.
class DeviceContext final : public KernelContext {
 public:
  explicit DeviceContext(KernelContext& host) : host_(host) {}

  const NodeView& node() const override { return host_.node(); }
  const KernelState* state() const override { return host_.state(); }
  bool has_input(int i) const override { return host_.has_input(i); }
  const ConstView& input(int i) const override {
    while (views_.size() <= static_cast<size_t>(i)) views_.emplace_back();
    ConstView& v = views_[static_cast<size_t>(i)];
    v = host_.input(i);
    if (v.space == MemorySpace::kDevice)
      v.data = untagged(v.data);
    else if (is_tagged(v.data) || host_.node().input_dtype(i) != v.dtype)
      ++g_violations;
    return v;
  }
  bool wants_output(int i) const override { return host_.wants_output(i); }
  Result<MutableView> output(int i, DataType dtype, std::span<const int64_t> dims,
                             Layout layout) override {
    return here(host_.output(i, dtype, dims, layout));
  }
  Result<MutableView> output_in_place(int i, int in, DataType dtype,
                                      std::span<const int64_t> dims) override {
    return here(host_.output_in_place(i, in, dtype, dims));
  }
  Status output_view(int i, int in, std::span<const int64_t> dims) override {
    return host_.output_view(i, in, dims);
  }
  Result<void*> scratch(size_t size) override {
    ONNXTOOL_ASSIGN(void* p, host_.scratch(size));
    return untagged(p);
  }
  void parallel_for(int64_t count, int64_t grain, void (*body)(void*, int64_t, int64_t),
                    void* closure) override {
    host_.parallel_for(count, grain, body, closure);
  }

 private:
  static Result<MutableView> here(Result<MutableView> view) {
    if (view.ok() && view->space == MemorySpace::kDevice) view->data = untagged(view->data);
    return view;
  }

  KernelContext& host_;
  mutable std::deque<ConstView> views_;  // references to them stay valid
};

constexpr size_t kMostKernels = 512;

template <size_t i>
Status run_here(KernelContext& host) {
  DeviceContext context(host);
  return cpu_kernel_set().kernels[i]->run(context);
}
template <size_t... i>
constexpr auto runs_of(std::index_sequence<i...>) {
  return std::array<Status (*)(KernelContext&), sizeof...(i)>{run_here<i>...};
}
constexpr auto kRuns = runs_of(std::make_index_sequence<kMostKernels>());

// Operators that this device lacks: they run on the host, between others that do not.
bool missing(const KernelInfo& k) {
  return k.op == "Relu" || k.op == "Concat" || k.op == "Softmax" || k.op == "Shape";
}

}  // namespace

const KernelSet& fake_device_set() {
  static const std::vector<const KernelInfo*> kernels = [] {
    static std::deque<KernelInfo> infos;
    std::vector<const KernelInfo*> list;
    const auto all = cpu_kernel_set().kernels;
    if (all.size() > kMostKernels) std::abort();
    for (size_t i = 0; i < all.size(); ++i) {
      if (missing(*all[i])) continue;
      KernelInfo& info = infos.emplace_back(*all[i]);
      info.run = kRuns[i];
      list.push_back(&info);
    }
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
int64_t fake_device_violations() { return g_violations; }

}  // namespace onnxtool::testing
