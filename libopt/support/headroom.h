// Room that stays free below a limit on memory (RLIMIT_DATA). Header-only, so that kernel modules
// can use it.
#pragma once

#include <sys/resource.h>
#include <unistd.h>

#include <cstdint>
#include <fstream>

namespace onnxtool {

/// Private writable memory that this process has mapped, in bytes: what RLIMIT_DATA counts.
inline uint64_t data_in_use() {
  std::ifstream file("/proc/self/statm");
  uint64_t pages = 0;
  for (int field = 0; field < 6; ++field) file >> pages;
  return file ? pages * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE)) : 0;
}

/// Whether this process may take `size_bytes` more and still has what libraries need that crash
/// where they get none (oneDNN and the code that it generates). Always true without a limit.
inline bool has_headroom(uint64_t size_bytes) {
  constexpr uint64_t kReserve = uint64_t{16} << 20;
  rlimit limit{};
  if (::getrlimit(RLIMIT_DATA, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return true;
  const uint64_t wanted = data_in_use() + kReserve;
  return wanted <= limit.rlim_cur && size_bytes <= limit.rlim_cur - wanted;
}

}  // namespace onnxtool
