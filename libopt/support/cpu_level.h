// Which files of hot loops this machine may enter: those named _avx2.cc and _avx512.cc are compiled
// for exactly the extensions that are asked for here (cmake/rooms.cmake).
#pragma once

#include <cstdint>

namespace onnxtool {

enum class CpuLevel : uint8_t { kBaseline, kAvx2, kAvx512 };

/// The best level that this machine runs.
inline CpuLevel cpu_level() {
#if defined(__x86_64__)
  static const CpuLevel kLevel = [] {
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") ||
        !__builtin_cpu_supports("f16c"))
      return CpuLevel::kBaseline;
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                   __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                   __builtin_cpu_supports("avx512vnni")
               ? CpuLevel::kAvx512
               : CpuLevel::kAvx2;
  }();
  return kLevel;
#else
  return CpuLevel::kBaseline;
#endif
}

/// The table of loops that this machine runs best.
template <class Table>
const Table& best_of(const Table& baseline, const Table& avx2, const Table& avx512) {
  switch (cpu_level()) {
    case CpuLevel::kAvx512: return avx512;
    case CpuLevel::kAvx2: return avx2;
    case CpuLevel::kBaseline: break;
  }
  return baseline;
}

}  // namespace onnxtool
