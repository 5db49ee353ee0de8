// Signal and error of tensors: what the SQNR of layers is made of.
#pragma once

#include <cstdint>

#include "calib/exec/kernel.h"
#include "libopt/analysis/align.h"
#include "libopt/support/scaled.h"

namespace onnxtool {

struct Energy {
  Scaled signal, error;  // sums of r^2 and (t - r)^2 over the pairs of finite numbers
  double max_abs = 0;    // of t - r
  uint64_t compared = 0, non_finite = 0;  // pairs; those that a NaN or an infinity tells apart
  int64_t skipped = 0;                    // tensors of other types or shapes

  void add(const Energy& more);
  /// In dB: -inf with a non-finite pair, NaN where nothing was compared, else decibels().
  double sqnr() const;
};

/// Both in one layout. A test value of 8-bit codes counts as the numbers that they stand for.
Energy energy_of(const ConstView& reference, const ConstView& test, const CodeParams& codes = {});

}  // namespace onnxtool
