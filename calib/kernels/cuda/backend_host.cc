// The device of the tests: memory of this process that the host may touch only while a kernel or a
// copy runs, so that whatever else reaches for it faults. Fresh memory is filled with a pattern.

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "calib/kernels/cuda/backend.h"
#include "calib/kernels/cuda/device.h"
#include "calib/kernels/cuda/dnn.h"
#include "calib/kernels/cuda/product.h"
#include "calib/kernels/cuda/recorded_memory.h"

namespace onnxtool::device {
namespace {

constexpr size_t kSpace = size_t{8} << 30, kGranule = 256, kPage = 4096;
constexpr int kFresh = 0xa5;

class Memory {
 public:
  Memory()
      : base_(static_cast<std::byte*>(::mmap(nullptr, kSpace, PROT_NONE,
                                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0))) {
    free_.emplace(0, kSpace);
  }
  void* allocate(size_t size) {
    const std::lock_guard lock(mutex_);
    const size_t wanted = (size + kGranule - 1) / kGranule * kGranule;
    for (auto it = free_.begin(); it != free_.end(); ++it) {
      if (it->second < wanted) continue;
      const auto [at, room] = *it;
      free_.erase(it);
      if (room > wanted) free_.emplace(at + wanted, room - wanted);
      used_.emplace(at, wanted);
      const size_t end = (at + wanted + kPage - 1) / kPage * kPage;
      if (end > high_) {
        high_ = end;
        if (open_) protect(PROT_READ | PROT_WRITE);
      }
      return base_ + at;
    }
    return nullptr;
  }
  void release(void* p) {
    const std::lock_guard lock(mutex_);
    const auto it = used_.find(static_cast<size_t>(static_cast<std::byte*>(p) - base_));
    size_t at = it->first, size = it->second;
    used_.erase(it);
    auto next = free_.lower_bound(at);
    if (next != free_.end() && next->first == at + size) {
      size += next->second;
      next = free_.erase(next);
    }
    if (next != free_.begin()) {
      const auto before = std::prev(next);
      if (before->first + before->second == at) {
        before->second += size;
        return;
      }
    }
    free_.emplace(at, size);
  }
  void open() {
    const std::lock_guard lock(mutex_);
    if (open_++ == 0) protect(PROT_READ | PROT_WRITE);
  }
  void close() {
    const std::lock_guard lock(mutex_);
    if (--open_ == 0) protect(PROT_NONE);
  }

 private:
  void protect(int rights) {
    if (high_) ::mprotect(base_, high_, rights);
  }

  std::byte* base_;
  std::mutex mutex_;
  std::map<size_t, size_t> free_, used_;
  size_t high_ = 0;
  int open_ = 0;
};

Memory& memory() {
  static auto* const instance = new Memory;
  return *instance;
}

thread_local std::string g_error;
std::atomic<bool> g_has_library = false;
std::atomic<int> g_library_calls = 0;

void* allocate_now(size_t size) {
  void* p = memory().allocate(size);
  if (!p) return nullptr;
  const Access access;
  std::memset(p, kFresh, size);
  return p;
}
void release_now(void* p) { memory().release(p); }

// What a thread asked for instead of running it.
struct Recording {
  std::vector<std::function<void()>> work;
  RecordedMemory memory{allocate_now, release_now};
  bool is_broken = false;
};
thread_local Recording* t_recording = nullptr;
std::atomic<int> g_replays = 0;

void* allocate(size_t size) {
  return t_recording ? t_recording->memory.allocate(size) : allocate_now(size);
}
void release(void* p) {
  if (!t_recording) return release_now(p);
  if (!t_recording->memory.release(p)) t_recording->is_broken = true;
}

void copy_now(void* to, const void* from, size_t size) {
  if (size == 0) return;  // of nothing, where either may be nullptr
  const Access access;
  std::memmove(to, from, size);
}
// What has to be run now cannot be recorded.
Status not_recorded() {
  t_recording->is_broken = true;
  return kernel_error(ErrorCode::kUnsupported, "this cannot be recorded");
}
Status copy(void* to, const void* from, size_t size) {
  if (t_recording) return not_recorded();
  copy_now(to, from, size);
  return {};
}

Status finish() {
  if (t_recording) return not_recorded();
  if (g_error.empty()) return {};
  return kernel_error(ErrorCode::kUnsupported, std::exchange(g_error, {}));
}

constexpr DeviceApi kApi{allocate, release, copy, copy, finish, count};

}  // namespace

Access::Access() { memory().open(); }
Access::~Access() { memory().close(); }

const DeviceApi& api() { return kApi; }
// The same device twice: 1 has a library of convolutions and pools.
const char* use_device(int index) {
  g_has_library = index == 1;
  return index <= 1 ? nullptr : "there are 2 devices, numbered from 0";
}
std::string_view architecture() { return "host"; }

void note_error(int code, const char* what) {
  if (code != 0 && g_error.empty()) g_error = what;
}

void launch(std::function<void()> work) {
  if (t_recording)
    t_recording->work.push_back(std::move(work));
  else
    work();
}

void copy_bytes(void* to, const void* from, size_t size) {
  launch([=] { copy_now(to, from, size); });
}
void fill_bytes(void* to, int value, size_t size) {
  launch([=] {
    const Access access;
    std::memset(to, value, size);
  });
}
void upload(void* to, const void* from, size_t size) {
  if (!t_recording) return copy_now(to, from, size);
  const auto* bytes = static_cast<const std::byte*>(from);
  t_recording->work.emplace_back([to, kept = std::vector<std::byte>(bytes, bytes + size)] {
    copy_now(to, kept.data(), kept.size());
  });
}
Status download(void* to, const void* from, size_t size) { return copy(to, from, size); }

namespace {

void* begin_recording() { return t_recording = new Recording; }
bool end_recording(void* recording) {
  t_recording = nullptr;
  const auto& r = *static_cast<Recording*>(recording);
  // What a device may decline, too.
  constexpr size_t kMostWork = 100;
  const bool is_whole = !r.is_broken && g_error.empty() && r.work.size() <= kMostWork;
  g_error.clear();
  return is_whole;
}
Status replay(void* recording) {
  ++g_replays;
  for (const auto& work : static_cast<Recording*>(recording)->work) work();
  return {};
}
void destroy_recording(void* recording) { delete static_cast<Recording*>(recording); }

constexpr RecorderApi kRecorder{begin_recording, end_recording, replay, copy_bytes,
                                destroy_recording};

}  // namespace

const RecorderApi& recorder() { return kRecorder; }

namespace {

template <class T>
struct PlainProduct {
  Product p;
  double operand(const void* data, int64_t i) const {
    const T x = load<T>(p.type, data, i);
    if constexpr (std::is_same_v<T, float>)
      if (p.tf32) return static_cast<double>(round_to_tf32(x));
    return static_cast<double>(x);
  }
  void operator()(int64_t i) const {
    const int64_t at = i / (p.m * p.n), row = i / p.n % p.m, column = i % p.n;
    double sum = 0;
    for (int64_t j = 0; j < p.k; ++j)
      sum += operand(p.a, at * p.a_step + (p.transpose_a ? j * p.m + row : row * p.k + j)) *
             operand(p.b, at * p.b_step + (p.transpose_b ? column * p.k + j : j * p.n + column));
    store<T>(p.result, p.c, at * p.c_step + row * p.n + column, static_cast<T>(sum * p.alpha));
  }
};

struct PlainIntegers {
  Product p;
  void operator()(int64_t i) const {
    const int64_t at = i / (p.m * p.n), row = i / p.n % p.m, column = i % p.n;
    const auto* a = static_cast<const int8_t*>(p.a) + at * p.a_step + row * p.k;
    const auto* b = static_cast<const int8_t*>(p.b) + at * p.b_step + column * p.k;
    uint32_t sum = 0;
    for (int64_t j = 0; j < p.k; ++j) sum += static_cast<uint32_t>(a[j] * b[j]);
    static_cast<int32_t*>(p.c)[at * p.c_step + row * p.n + column] = static_cast<int32_t>(sum);
  }
};

bool is_aligned(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

}  // namespace

Result<bool> multiply_integers(KernelContext&, const Product& p) {
  const int64_t extents[] = {p.n, p.k, p.a_step, p.b_step, p.c_step};
  if (!is_aligned(p.a) || !is_aligned(p.b) || !is_aligned(p.c) || !p.transpose_b ||
      std::ranges::any_of(extents, [](int64_t n) { return n % 16 != 0; }))
    return kernel_error(ErrorCode::kUnsupported, "operands are not as tensor cores take them");
  // What a device may decline, too.
  if (p.m == 1 && p.n == 16) return false;
  for_each_index(p.count * p.m * p.n, PlainIntegers{p});
  return true;
}

Status multiply(KernelContext&, const Product& p) {
  const int64_t count = p.count * p.m * p.n;
  if (p.type == DataType::kDouble)
    for_each_index(count, PlainProduct<double>{p});
  else
    for_each_index(count, PlainProduct<float>{p});
  return {};
}

namespace {

// Where tap `t` of output position `p` of one plane lies, with equal padding on both sides; -1: in
// the padding.
int64_t seen_at(const DnnWindow& w, int64_t p, int64_t t) {
  int64_t offset = 0, scale = 1;
  for (int a = w.axes - 1; a >= 0; --a) {
    const int64_t i = p % w.out[a] * w.stride[a] - w.pad[a] + t % w.kernel[a] * w.dilation[a];
    if (i < 0 || i >= w.in[a]) return -1;
    p /= w.out[a], t /= w.kernel[a];
    offset += i * scale;
    scale *= w.in[a];
  }
  return offset;
}
int64_t volume_of(const DnnWindow& w, const int (&extents)[3]) {
  int64_t n = 1;
  for (int a = 0; a < w.axes; ++a) n *= extents[a];
  return n;
}
// As cuDNN derives the output's extents.
Status check_window(const DnnWindow& w) {
  for (int a = 0; a < w.axes; ++a)
    if (1 + (w.in[a] + 2 * w.pad[a] - ((w.kernel[a] - 1) * w.dilation[a] + 1)) / w.stride[a] !=
        w.out[a])
      return kernel_error(ErrorCode::kUnsupported, "the library makes other extents");
  return {};
}

struct LibraryConvolution {
  DnnConvolution c;
  float operand(const void* data, int64_t i) const {
    const float x = load<float>(c.type, data, i);
    return c.tf32 ? round_to_tf32(x) : x;
  }
  void operator()(int64_t e) const {
    const DnnWindow& w = c.window;
    const int64_t in = volume_of(w, w.in), out = volume_of(w, w.out), taps = volume_of(w, w.kernel),
                  depth = c.channels / c.group;
    const int64_t p = e % out, m = e / out % c.out_channels, n = e / out / c.out_channels;
    const int64_t first = n * c.channels + m / (c.out_channels / c.group) * depth;
    double sum = 0;
    for (int64_t k = 0; k < depth; ++k)
      for (int64_t t = 0; t < taps; ++t)
        if (const int64_t at = seen_at(w, p, t); at >= 0)
          sum += static_cast<double>(operand(c.x, (first + k) * in + at)) *
                 static_cast<double>(operand(c.weights, (m * depth + k) * taps + t));
    auto y = static_cast<float>(sum);
    if (c.bias) y += load<float>(c.type, c.bias, m);
    if (c.added) y += load<float>(c.type, c.added, e);
    store<float>(c.type, c.y, e, c.relu && y < 0 ? 0 : y);
  }
};

struct LibraryPool {
  DnnPool p;
  void operator()(int64_t e) const {
    const DnnWindow& w = p.window;
    const int64_t in = volume_of(w, w.in), out = volume_of(w, w.out), taps = volume_of(w, w.kernel);
    float most = -INFINITY, sum = 0;
    int64_t count = 0;
    for (int64_t t = 0; t < taps; ++t) {
      const int64_t at = seen_at(w, e % out, t);
      if (at < 0) continue;
      const float x = load<float>(p.type, p.x, e / out * in + at);
      most = x > most || x != x ? x : most;
      sum += x;
      ++count;
    }
    if (p.kind == DnnPool::Kind::kAverageWithPads) count = taps;
    store<float>(p.type, p.y, e,
                 p.kind == DnnPool::Kind::kMax ? most : sum / static_cast<float>(count));
  }
};

}  // namespace

const char* library_refusal() { return g_has_library ? nullptr : "this device has none"; }
std::string library_name() { return "loops"; }

Result<bool> convolve(KernelContext&, const DnnConvolution& c) {
  ONNXTOOL_TRY(check_window(c.window));
  if ((c.relu || c.added) && !c.bias)
    return kernel_error(ErrorCode::kUnsupported, "the library has no such call");
  // What a device may decline, too.
  if (c.group > 1 && c.relu) return false;
  ++g_library_calls;
  for_each_index(c.batch * c.out_channels * volume_of(c.window, c.window.out),
                 LibraryConvolution{c});
  return true;
}

Result<bool> pool(KernelContext&, const DnnPool& p) {
  ONNXTOOL_TRY(check_window(p.window));
  for (int a = 0; a < p.window.axes; ++a)
    if (p.window.pad[a] >= p.window.kernel[a])
      return kernel_error(ErrorCode::kUnsupported, "a window lies in the padding");
  ++g_library_calls;
  for_each_index(p.batch * p.channels * volume_of(p.window, p.window.out), LibraryPool{p});
  return true;
}

}  // namespace onnxtool::device

/// What the library was asked for and did, since this was last called.
extern "C" __attribute__((visibility("default"))) int onnxtool_library_calls() {
  return onnxtool::device::g_library_calls.exchange(0);
}

/// Recordings that were replayed, since this was last called.
extern "C" __attribute__((visibility("default"))) int onnxtool_replays() {
  return onnxtool::device::g_replays.exchange(0);
}
