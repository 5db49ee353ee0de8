// Memory of a recording: what a recorded kernel got lies there in every replay, so nothing goes
// back before the recording does. What one kernel released serves those behind it.
#pragma once

#include <cstddef>
#include <map>
#include <unordered_map>

namespace onnxtool::device {

class RecordedMemory {
 public:
  /// Of the device, outside of what is recorded.
  using Allocate = void* (*)(size_t);
  using Release = void (*)(void*);
  RecordedMemory(Allocate allocate, Release release) : allocate_(allocate), release_(release) {}
  RecordedMemory(const RecordedMemory&) = delete;
  RecordedMemory& operator=(const RecordedMemory&) = delete;
  ~RecordedMemory() {
    for (const auto& [data, size] : sizes_) release_(data);
  }

  /// nullptr: the device has no more. What is taken again is at most twice as large as asked for.
  void* allocate(size_t size) {
    if (const auto it = free_.lower_bound(size); it != free_.end() && it->first / 2 <= size) {
      void* data = it->second;
      free_.erase(it);
      return data;
    }
    void* data = allocate_(size);
    if (data) sizes_.emplace(data, size);
    return data;
  }
  /// False: it was not of this recording; it goes when that does.
  bool release(void* data) {
    const auto it = sizes_.find(data);
    if (it == sizes_.end()) {
      sizes_.emplace(data, 0);
      return false;
    }
    free_.emplace(it->second, data);
    return true;
  }

 private:
  Allocate allocate_;
  Release release_;
  std::unordered_map<void*, size_t> sizes_;
  std::multimap<size_t, void*> free_;
};

}  // namespace onnxtool::device
