// Sums of squares of a stretch of numbers, and of their errors: compiled once per ISA level from
// one source (energy_sums_loops.h) and chosen at run time. In eight lanes and a fixed order, so
// that every level gives the same bits.
#pragma once

#include <cstdint>

namespace onnxtool {

struct PlainSums {
  double signal = 0, error = 0;          // of r^2 and (t - r)^2
  double max_signal = 0, max_error = 0;  // of their absolute values
};

/// Add a stretch to the sums. false: a number is not finite, and nothing was added.
struct EnergySums {
  bool (*floats)(const float* r, const float* t, int64_t count, PlainSums& sums);
  bool (*doubles)(const double* r, const double* t, int64_t count, PlainSums& sums);
};

extern const EnergySums kEnergySumsBaseline;
#if defined(__x86_64__)
extern const EnergySums kEnergySumsAvx2;
extern const EnergySums kEnergySumsAvx512;
#endif

/// The best level that this machine runs.
const EnergySums& energy_sums();

}  // namespace onnxtool
