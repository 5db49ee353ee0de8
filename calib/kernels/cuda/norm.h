// Means and variances of lines on a device, and what is made of them: double, the variance from
// differences to the mean, as on the host; lanes add in another order.
#pragma once

#include <cmath>

#include "calib/kernels/cuda/lines.h"

namespace onnxtool::device {

template <class T>
struct ValueTerm {
  const T* x;
  ONNXTOOL_HD double operator()(int64_t i, int64_t) const { return static_cast<double>(x[i]); }
};
/// Around the line's mean; around 0 without one.
template <class T>
struct SquareTerm {
  const T* x;
  const double* mean;
  ONNXTOOL_HD double operator()(int64_t i, int64_t line) const {
    const double d = static_cast<double>(x[i]) - (mean ? mean[line] : 0.0);
    return d * d;
  }
};
struct PutMean {
  double* to;
  double count;
  ONNXTOOL_HD void operator()(int64_t line, double sum) const { to[line] = sum / count; }
};
struct PutInverse {
  double* to;
  double count, epsilon;
  ONNXTOOL_HD void operator()(int64_t line, double sum) const {
    to[line] = 1.0 / std::sqrt(sum / count + epsilon);
  }
};

/// Per line: mean (nullptr: not centered) and 1 / sqrt(variance + epsilon).
struct Statistics {
  const double *mean = nullptr, *inverse = nullptr;
};
template <class T>
Result<Statistics> statistics_of(KernelContext& ctx, const T* x, int64_t count, int64_t length,
                                 double epsilon, bool centered) {
  ONNXTOOL_ASSIGN(void* work, ctx.scratch(static_cast<size_t>(2 * count) * sizeof(double)));
  double *mean = static_cast<double*>(work), *inverse = mean + count;
  const Lines lines{length, 1};
  const auto n = static_cast<double>(length);
  if (centered) sum_lines(count, lines, ValueTerm<T>{x}, PutMean{mean, n});
  sum_lines(count, lines, SquareTerm<T>{x, centered ? mean : nullptr},
            PutInverse{inverse, n, epsilon});
  return Statistics{centered ? mean : nullptr, inverse};
}

/// y = (x - mean) * inverse * scale + bias, where parameter i belongs to element
/// (i / divisor) % count of scale and bias.
template <class T>
struct NormalizeElements {
  const T *x, *scale, *bias;  // bias may be nullptr
  T* y;
  Divider length;
  Statistics statistics;
  Divider divisor, count;
  ONNXTOOL_HD void operator()(int64_t i) const {
    const int64_t line = length.quotient(i), parameter = count.remainder(divisor.quotient(i));
    const T mean = statistics.mean ? static_cast<T>(statistics.mean[line]) : T{0};
    const T factor = static_cast<T>(statistics.inverse[line]);
    y[i] = (x[i] - mean) * factor * scale[parameter] + (bias ? bias[parameter] : T{0});
  }
};

struct RoundStatistics {
  Statistics from;
  float *mean, *inverse;
  ONNXTOOL_HD void operator()(int64_t line) const {
    if (mean) mean[line] = from.mean ? static_cast<float>(from.mean[line]) : 0.0f;
    if (inverse) inverse[line] = static_cast<float>(from.inverse[line]);
  }
  /// Of lines without elements: all bits set are a NaN.
  void of_nothing(int64_t lines) const {
    for (float* means : {mean, inverse})
      if (means) fill_bytes(means, 0xff, static_cast<size_t>(lines) * sizeof(float));
  }
};

}  // namespace onnxtool::device
