// Memory of one run context: the first run with some shapes allocates from the heap and records
// what it did; later runs with the same shapes replay it in one block, where a buffer takes the
// place of others that are dead by then. So peak memory is the live set, and a steady run allocates
// nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace onnxtool {

/// Alignment of every buffer: a cache line, and the widest vector.
inline constexpr size_t kBufferAlignment = 64;

class Arena {
 public:
  Arena() = default;
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  /// nullptr when memory is out. `ticket` is handed back to release().
  void* acquire(size_t size_bytes, int* ticket);
  void release(void* data, int ticket);
  /// Call between runs, when nothing is held: lays out the next run from what this one did.
  void finish_run() noexcept;
  /// Bytes held from the system now.
  size_t reserved_bytes() const { return block_size_ + heap_bytes_; }

 private:
  struct Event {
    size_t size = 0;
    int begin = 0, end = 0;  // ticks of acquire and release
    size_t offset = 0;       // in the block
  };
  static void* heap(size_t size);
  /// Throws std::bad_alloc; no block is there when it is out of memory.
  void lay_out();

  std::vector<Event> plan_;    // what the block was laid out for
  std::vector<Event> record_;  // this run
  std::vector<bool> from_block_;
  int tick_ = 0;
  bool replaying_ = false;
  std::byte* block_ = nullptr;
  size_t block_size_ = 0;
  size_t heap_bytes_ = 0;
};

}  // namespace onnxtool
