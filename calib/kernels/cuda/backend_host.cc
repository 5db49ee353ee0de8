// The device of the tests: memory of this process that the host may touch only while a kernel or a
// copy runs, so that whatever else reaches for it faults. Fresh memory is filled with a pattern.

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>
#include <string>

#include "calib/kernels/cuda/backend.h"
#include "calib/kernels/cuda/device.h"
#include "calib/kernels/cuda/product.h"

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

void* allocate(size_t size) {
  void* p = memory().allocate(size);
  if (p) fill_bytes(p, kFresh, size);
  return p;
}
void release(void* p) { memory().release(p); }

Status copy(void* to, const void* from, size_t size) {
  if (size == 0) return {};  // of nothing, where either may be nullptr
  const Access access;
  std::memmove(to, from, size);
  return {};
}

Status finish() {
  if (g_error.empty()) return {};
  return kernel_error(ErrorCode::kUnsupported, std::exchange(g_error, {}));
}

constexpr DeviceApi kApi{allocate, release, copy, copy, finish, count};

}  // namespace

Access::Access() { memory().open(); }
Access::~Access() { memory().close(); }

const DeviceApi& api() { return kApi; }
const char* use_device(int index) { return index == 0 ? nullptr : "there is one device"; }
std::string_view architecture() { return "host"; }

void note_error(int code, const char* what) {
  if (code != 0 && g_error.empty()) g_error = what;
}

void copy_bytes(void* to, const void* from, size_t size) { (void)copy(to, from, size); }
void fill_bytes(void* to, int value, size_t size) {
  const Access access;
  std::memset(to, value, size);
}
void upload(void* to, const void* from, size_t size) { (void)copy(to, from, size); }
Status download(void* to, const void* from, size_t size) { return copy(to, from, size); }

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
    store<T>(p.result, p.c, at * p.c_step + row * p.n + column,
             static_cast<T>(sum * p.alpha));
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

}  // namespace onnxtool::device
