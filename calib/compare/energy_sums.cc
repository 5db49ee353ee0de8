// Chooses the level of the loops.

#include "calib/compare/energy_sums.h"

#include "libopt/support/cpu_level.h"

namespace onnxtool {

const EnergySums& energy_sums() {
#if defined(__x86_64__)
  return best_of(kEnergySumsBaseline, kEnergySumsAvx2, kEnergySumsAvx512);
#else
  return kEnergySumsBaseline;
#endif
}

}  // namespace onnxtool
