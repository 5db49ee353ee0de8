// The first look at a span of floats: extrema, and which histogram bucket each value belongs to.
// Written once per instruction set; all give the same answer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

namespace onnxtool {

/// Of the values seen so far. NaN is skipped by the extrema, infinities are not.
struct Extrema {
  static constexpr float kInfinity = std::numeric_limits<float>::infinity();
  float min = kInfinity;
  float max = -kInfinity;
  float min_abs = kInfinity;  // of the non-zero values; by buckets() only
  uint64_t zeros = 0;
  bool nan = false;

  bool special() const { return nan || min == -kInfinity || max == kInfinity; }
};

struct Scan {
  /// Takes x[0..n) into `e`.
  void (*extrema)(Extrema& e, const float* x, size_t n);
  /// The same, and the upper 17 bits of each value that is not zero, in order, to `buckets`, which
  /// has room for n + kSlack. Returns their number.
  size_t (*buckets)(Extrema& e, const float* x, size_t n, uint32_t* buckets);

  static constexpr size_t kSlack = 16;  // whole vectors are stored
};

extern const Scan kScanBaseline;
#if defined(__x86_64__)
extern const Scan kScanAvx2, kScanAvx512;
#endif

/// The widest that this machine has.
const Scan& scan();

}  // namespace onnxtool
