// Copies of values that live for a part of a run, in memory that is used again and again: asking
// the system for it anew costs about as much as the copy.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "calib/exec/kernel.h"

namespace onnxtool {

/// Gives memory aligned to 64 bytes. Must outlive what it gave; for any threads.
class MemoryPool {
 public:
  MemoryPool() = default;
  ~MemoryPool();
  MemoryPool(const MemoryPool&) = delete;
  MemoryPool& operator=(const MemoryPool&) = delete;

  /// Throws std::bad_alloc.
  std::shared_ptr<void> take(size_t size_bytes);

 private:
  void give_back(void* data, size_t size_bytes);

  std::mutex mutex_;
  std::multimap<size_t, void*> idle_;  // by size
  size_t idle_bytes_ = 0;
};

/// A tensor of numbers, in the order that it was shown in.
struct KeptValue {
  DataType dtype = DataType::kUndefined;
  std::vector<int64_t> dims;
  int64_t count = 0;
  Layout layout = Layout::kPlain;
  std::shared_ptr<void> memory;

  /// Without its elements' values.
  static KeptValue like(const ConstView& v, DataType dtype, MemoryPool& pool);
  static KeptValue copy_of(const ConstView& v, MemoryPool& pool);
  ConstView view() const { return {dtype, dims, memory.get(), count, MemorySpace::kHost, layout}; }
  uint64_t size_bytes() const { return size_bytes_of(dtype, static_cast<uint64_t>(count)); }
};

}  // namespace onnxtool
