// Sums of energies for AVX2.

#include "calib/compare/energy_sums_loops.h"

namespace onnxtool {

constinit const EnergySums kEnergySumsAvx2 = kTable;

}  // namespace onnxtool
