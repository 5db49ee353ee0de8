// Tensors of any floating type, or of codes that stand for floats, as floats or doubles.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "calib/compare/metric_sums.h"
#include "calib/exec/kernel.h"
#include "calib/kernels/cpu/vector_math.h"
#include "libopt/analysis/align.h"

namespace onnxtool {

/// Few enough to stay in the first-level cache.
inline constexpr int64_t kNumbersBlock = 2048;

/// Elements of a floating view, or of one of 8-bit codes, as floats or doubles: at most
/// kNumbersBlock at a time. In the order of the view, which must outlive this.
template <class Real>
class Numbers {
 public:
  Numbers(const ConstView& v, const CodeParams& codes)
      : v_(v),
        scale_(static_cast<float>(codes.scale)),
        zero_point_(static_cast<int32_t>(codes.zero_point)) {}

  /// Valid until the next call.
  const Real* at(int64_t start, int64_t count) {
    switch (v_.dtype) {
      case DataType::kFloat: return converted<float>(start, count);
      case DataType::kDouble: return converted<double>(start, count);
      case DataType::kBfloat16: return converted<Bfloat16>(start, count);
      case DataType::kFloat16:
        vector_math().widen_half(static_cast<const uint16_t*>(v_.data) + start, floats_, count);
        break;
      case DataType::kUint8:
        vector_math().dequantize_u8(static_cast<const uint8_t*>(v_.data) + start, line(), floats_,
                                    count);
        break;
      case DataType::kInt8:
        vector_math().dequantize_s8(static_cast<const int8_t*>(v_.data) + start, line(), floats_,
                                    count);
        break;
      default: check_failed(__FILE__, __LINE__, "no numbers");
    }
    return widened(count);
  }

 private:
  QuantLine line() const { return {&scale_, &zero_point_, 0}; }

  template <class T>
  const Real* converted(int64_t start, int64_t count) {
    const T* x = static_cast<const T*>(v_.data) + start;
    if constexpr (std::is_same_v<T, Real>) {
      return x;
    } else {
      for (int64_t i = 0; i < count; ++i) reals_[i] = static_cast<Real>(widen(x[i]));
      return reals_;
    }
  }
  const Real* widened(int64_t count) {
    if constexpr (std::is_same_v<Real, float>) {
      return floats_;
    } else {
      std::copy_n(floats_, count, reals_);
      return reals_;
    }
  }

  const ConstView& v_;
  float scale_;
  int32_t zero_point_;
  float floats_[kNumbersBlock];
  Real reals_[kNumbersBlock];
};

}  // namespace onnxtool
