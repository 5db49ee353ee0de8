// What the versions of Scan share: one value at a time, for the end of a span. Builtins in place of
// inline functions of the standard library, since each version is compiled for another processor.
#pragma once

#include "calib/ranges/scan.h"

namespace onnxtool {
namespace {

inline void take_extrema(Extrema& e, float v) {
  if (v < e.min) e.min = v;
  if (v > e.max) e.max = v;
  e.zeros += v == 0;
  e.nan |= v != v;
}

/// No branch on zero: they are irregular.
inline size_t take_bucket(Extrema& e, float v, uint32_t* to) {
  take_extrema(e, v);
  if (v != 0 && __builtin_fabsf(v) < e.min_abs) e.min_abs = __builtin_fabsf(v);
  *to = __builtin_bit_cast(uint32_t, v) >> 15;
  return v != 0;
}

}  // namespace
}  // namespace onnxtool
