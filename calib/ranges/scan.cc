#include "calib/ranges/scan.h"

#include "libopt/support/cpu_level.h"

namespace onnxtool {

const Scan& scan() {
#if defined(__x86_64__)
  return best_of(kScanBaseline, kScanAvx2, kScanAvx512);
#else
  return kScanBaseline;
#endif
}

}  // namespace onnxtool
