// What the versions of Scan share: one value at a time, for the end of a span.
#pragma once

#include <bit>
#include <cmath>

#include "calib/ranges/scan.h"

namespace onnxtool { namespace {

inline void take_extrema(Extrema& e, float v) {
  if (v < e.min) e.min = v;
  if (v > e.max) e.max = v;
  e.zeros += v == 0;
  e.nan |= v != v;
}

/// No branch on zero: they are irregular.
inline size_t take_bucket(Extrema& e, float v, uint32_t* to) {
  take_extrema(e, v);
  if (v != 0 && std::fabs(v) < e.min_abs) e.min_abs = std::fabs(v);
  *to = std::bit_cast<uint32_t>(v) >> 15;
  return v != 0;
}

}}  // namespace onnxtool
