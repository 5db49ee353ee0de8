// Discrete Fourier transforms of any length, in double.
#pragma once

#include <complex>
#include <cstdint>
#include <vector>

namespace onnxtool {

/// X[k] = sum over t of x[t] * exp(-2 pi i k t / n). Lengths that are no power of two go through
/// one of at least twice their size (Bluestein's chirp transform). Immutable: threads share one.
class Fft {
 public:
  using Complex = std::complex<double>;

  /// n >= 1.
  explicit Fft(int64_t n);
  int64_t size() const { return n_; }
  /// Elements that transform() needs to work.
  int64_t workspace() const { return chirp_.empty() ? 0 : padded_; }
  /// In place. inverse: with exp(+...) and divided by n.
  void transform(Complex* x, bool inverse, Complex* workspace) const;

 private:
  void forward(Complex* x, Complex* workspace) const;
  void radix2(Complex* x) const;  // of padded_ elements

  int64_t n_, padded_;
  std::vector<Complex> roots_;     // exp(-2 pi i k / padded_), k < padded_ / 2
  std::vector<Complex> chirp_;     // exp(-pi i k^2 / n); empty for powers of two
  std::vector<Complex> spectrum_;  // of the chirp's conjugate, divided by padded_
};

}  // namespace onnxtool
