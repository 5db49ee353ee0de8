// Random numbers that are the same on every system.
#pragma once

#include <cstdint>

namespace onnxtool {

/// SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
class SplitMix64 {
 public:
  explicit SplitMix64(uint64_t state) : state_(state) {}
  uint64_t next() {
    state_ += 0x9e3779b97f4a7c15u;
    return mix(state_);
  }
  static uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  /// In [0, 1), a multiple of 2^-53.
  double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }
  /// In [0, count), without bias: values of the last, incomplete round are drawn again.
  uint64_t below(uint64_t count) {
    const uint64_t first_used = (0 - count) % count;  // 2^64 mod count
    uint64_t v = next();
    while (v < first_used) v = next();
    return v % count;
  }

 private:
  uint64_t state_;
};

}  // namespace onnxtool
