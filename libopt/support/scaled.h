// Sums of squares of any doubles: those of 1e-170 and of 1e200 are no doubles themselves.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

namespace onnxtool {

/// value x 2^exponent.
struct Scaled {
  double value = 0;
  int exponent = 0;
  constexpr Scaled(double v = 0, int e = 0) : value(v), exponent(e) {}

  /// A finite number, its value below 1.
  static Scaled of(double x) {
    int exponent = 0;
    const double value = std::frexp(x, &exponent);
    return {value, exponent};
  }
  /// a - b, which may be too large for a double.
  static Scaled difference(double a, double b) {
    const double d = a - b;
    if (std::isfinite(d)) return of(d);
    const Scaled half = of(a / 2 - b / 2);
    return {half.value, half.exponent + 1};
  }

  Scaled& operator+=(const Scaled& b) {
    if (exponent == b.exponent) {
      value += b.value;
    } else if (value == 0) {
      *this = b;
    } else if (b.value != 0) {
      const int top = std::max(exponent, b.exponent);
      value = std::ldexp(value, exponent - top) + std::ldexp(b.value, b.exponent - top);
      exponent = top;
    }
    return *this;
  }
  friend Scaled operator*(const Scaled& a, const Scaled& b) {
    return {a.value * b.value, a.exponent + b.exponent};
  }
  bool operator==(const Scaled&) const = default;

  /// Nearest double, infinite where it is too large. The root is of an even exponent, as sums of
  /// squares have.
  double number() const { return std::ldexp(value, exponent); }
  double root() const { return std::ldexp(std::sqrt(value), exponent / 2); }
};

/// Whether a sum of squares lost nothing to underflow and overflow, and divides by another such.
inline bool is_safe_sum(double sum) { return sum >= 0x1p-400 && sum <= 0x1p+500; }

/// SQNR, 10 log10(signal / error) in dB, of two sums of squares: +inf where there is no error, -inf
/// where there is one and no signal.
inline double decibels(const Scaled& signal, const Scaled& error) {
  if (error.value == 0) return std::numeric_limits<double>::infinity();
  if (signal.value == 0) return -std::numeric_limits<double>::infinity();
  constexpr double kPerDoubling = 3.0102999566398119521;
  return 10 * std::log10(signal.value / error.value) +
         kPerDoubling * (signal.exponent - error.exponent);
}

}  // namespace onnxtool
