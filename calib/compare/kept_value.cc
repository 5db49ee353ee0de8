#include "calib/compare/kept_value.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "calib/exec/arena.h"
#include "libopt/support/huge_pages.h"

namespace onnxtool {
namespace {

// What a value may get more than it asks for, and what the pool keeps that nobody uses.
constexpr size_t kMostTimesTooLarge = 2;
constexpr size_t kMostIdleBytes = size_t{128} << 20;

}  // namespace

MemoryPool::~MemoryPool() {
  for (const auto& [size, data] : idle_) std::free(data);
}

std::shared_ptr<void> MemoryPool::take(size_t size_bytes) {
  size_bytes = std::max<size_t>(size_bytes, 1);
  void* data = nullptr;
  {
    const std::lock_guard lock(mutex_);
    if (const auto it = idle_.lower_bound(size_bytes);
        it != idle_.end() && it->first / kMostTimesTooLarge <= size_bytes) {
      size_bytes = it->first;
      data = it->second;
      idle_bytes_ -= size_bytes;
      idle_.erase(it);
    }
  }
  if (!data) data = allocate_in_huge_pages(kBufferAlignment, size_bytes);
  if (!data) throw std::bad_alloc();
  return {data, [this, size_bytes](void* d) { give_back(d, size_bytes); }};
}

void MemoryPool::give_back(void* data, size_t size_bytes) {
  const std::lock_guard lock(mutex_);
  if (idle_bytes_ + size_bytes > kMostIdleBytes) {
    std::free(data);
    return;
  }
  idle_.emplace(size_bytes, data);
  idle_bytes_ += size_bytes;
}

KeptValue KeptValue::like(const ConstView& v, DataType dtype, MemoryPool& pool) {
  return {dtype,
          {v.dims.begin(), v.dims.end()},
          v.count,
          v.layout,
          pool.take(size_bytes_of(dtype, static_cast<uint64_t>(v.count)))};
}

KeptValue KeptValue::copy_of(const ConstView& v, MemoryPool& pool) {
  KeptValue kept = like(v, v.dtype, pool);
  if (v.count) std::memcpy(kept.memory.get(), v.data, kept.size_bytes());
  return kept;
}

}  // namespace onnxtool
