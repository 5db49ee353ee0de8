// Division by a number that all threads of a launch share.
#pragma once

#include <cstdint>

#include "calib/kernels/cpu/host_device.h"

namespace onnxtool::device {

/// n / by for n >= 0: a multiplication and a shift where n and `by` are below 2^31, several times
/// cheaper than a device's division, above all one of 64 bits.
///
/// With 2^(s-1) < by <= 2^s and factor = ceil(2^(31+s) / by), factor * by exceeds 2^(31+s) by less
/// than by <= 2^s; for n < 2^31 the product n * factor is then too large by less than 2^(31+s) /
/// by, which does not reach the next whole quotient.
class Divider {
 public:
  Divider() : Divider(1) {}
  explicit Divider(int64_t by) : by_(by < 1 ? 1 : by) {  // below 1: nothing will be launched
    if (by_ > INT32_MAX) return;
    int s = 0;
    while ((int64_t{1} << s) < by_) ++s;
    shift_ = 31 + s;
    factor_ = static_cast<uint32_t>(((uint64_t{1} << shift_) + static_cast<uint64_t>(by_) - 1) /
                                    static_cast<uint64_t>(by_));
  }
  ONNXTOOL_HD int64_t by() const { return by_; }
  ONNXTOOL_HD int64_t quotient(int64_t n) const {
    if (factor_ && n <= INT32_MAX)
      return static_cast<int64_t>(static_cast<uint64_t>(static_cast<uint32_t>(n)) * factor_ >>
                                  shift_);
    return n / by_;
  }
  ONNXTOOL_HD int64_t remainder(int64_t n) const { return n - quotient(n) * by_; }
  /// The remainder; n becomes the quotient.
  ONNXTOOL_HD int64_t split(int64_t& n) const {
    const int64_t q = quotient(n), r = n - q * by_;
    n = q;
    return r;
  }

 private:
  int64_t by_;
  uint32_t factor_ = 0;  // 0: too large
  int shift_ = 0;
};

}  // namespace onnxtool::device
