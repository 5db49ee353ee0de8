// Sums of energies for AVX-512.

#include "calib/compare/energy_sums_loops.h"

namespace onnxtool {

constinit const EnergySums kEnergySumsAvx512 = kTable;

}  // namespace onnxtool
