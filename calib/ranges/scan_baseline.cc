// Scan in plain C++.

#include "calib/ranges/scan_tail.h"

namespace onnxtool {
namespace {

void extrema(Extrema& e, const float* x, size_t n) {
  Extrema local = e;
  for (size_t i = 0; i < n; ++i) take_extrema(local, x[i]);
  e = local;
}

size_t buckets(Extrema& e, const float* x, size_t n, uint32_t* to) {
  Extrema local = e;
  size_t kept = 0;
  for (size_t i = 0; i < n; ++i) kept += take_bucket(local, x[i], to + kept);
  e = local;
  return kept;
}

}  // namespace

constinit const Scan kScanBaseline{extrema, buckets};

}  // namespace onnxtool
