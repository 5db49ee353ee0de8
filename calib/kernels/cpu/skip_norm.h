// The rows of SkipLayerNormalization: skip_norm.cc says what they are, for the host and for
// devices; each computes them in its own way.
#pragma once

#include "calib/kernels/cpu/convert.h"

namespace onnxtool {

/// sum = x + skip + bias; y = (sum - mean) / sqrt(variance + epsilon) * gamma + beta by rows of
/// `size` elements. Row r of x goes with row r % skip_rows of skip. nullptr: absent, or not wanted.
template <class T>
struct SkipRows {
  const T *x, *skip, *gamma, *beta, *bias;
  int64_t rows, size, skip_rows;
  double epsilon;
  bool centred;  // else the mean is taken as 0
  T *y, *sum;
  float *mean, *inverse;  // of each row; kOfNothing where it is empty
};

/// T is float or double.
template <class T>
Status normalize(KernelContext& ctx, const SkipRows<T>& rows);

}  // namespace onnxtool
