// What atomic files and atomic directories share: names on disk that must not outlive the process,
// and what a failed write says.
#pragma once

#include <array>
#include <atomic>
#include <cstring>
#include <string>

#include "libopt/support/status.h"

namespace onnxtool {

/// Temporary names now on disk, for the signal handler: fixed storage, slots claimed by a flag.
/// Names that find no slot, or are too long for one, are not kept.
template <size_t kSlots>
class PendingNames {
 public:
  void remember(const std::string& path) {
    for (Slot& s : slots_) {
      int expected = kFree;
      if (path.size() >= sizeof s.path || !s.state.compare_exchange_strong(expected, kFilling))
        continue;
      std::memcpy(s.path, path.c_str(), path.size() + 1);
      s.state = kOnDisk;
      return;
    }
  }
  void forget(const std::string& path) {
    for (Slot& s : slots_)
      if (s.state == kOnDisk && path == s.path) s.state = kFree;
  }
  /// Async-signal-safe as far as `f` is.
  void for_each(void (*f)(const char* path)) noexcept {
    for (Slot& s : slots_)
      if (s.state == kOnDisk) f(s.path);
  }

 private:
  enum State : int { kFree, kFilling, kOnDisk };
  struct Slot {
    std::atomic<int> state{kFree};
    char path[4096] = {};
  };
  std::array<Slot, kSlots> slots_;
};

/// kWriteFailed: `path: cannot WHAT: REASON`, with what to try. `error` is an errno.
Error write_failed(const std::string& path, const std::string& what, int error);

/// The directory in which a path lies: "." where it names none.
std::string directory_of(const std::string& path);

}  // namespace onnxtool
