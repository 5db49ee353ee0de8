#include "calib/ranges/scan.h"

namespace onnxtool {

const Scan& scan() {
#if defined(__x86_64__)
  static const Scan& kChosen =
      __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
              __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
              __builtin_cpu_supports("avx512vnni")
          ? kScanAvx512
      : __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
              __builtin_cpu_supports("f16c")
          ? kScanAvx2
          : kScanBaseline;
  return kChosen;
#else
  return kScanBaseline;
#endif
}

}  // namespace onnxtool
