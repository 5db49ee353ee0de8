// Sums of energies for any machine.

#include "calib/compare/energy_sums_loops.h"

namespace onnxtool {

constinit const EnergySums kEnergySumsBaseline = kTable;

}  // namespace onnxtool
