// Radix-2 transforms and the chirp transform over them (see the header).

#include "calib/kernels/cpu/fft.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numbers>

namespace onnxtool {
namespace {

using Complex = Fft::Complex;

// exp(-pi i * numerator / denominator)
Complex half_turns(int64_t numerator, int64_t denominator) {
  const double angle =
      -std::numbers::pi * static_cast<double>(numerator) / static_cast<double>(denominator);
  return {std::cos(angle), std::sin(angle)};
}

// Without the check for infinities that std::complex's product has.
Complex times(const Complex& a, const Complex& b) {
  return {a.real() * b.real() - a.imag() * b.imag(), a.real() * b.imag() + a.imag() * b.real()};
}

}  // namespace

Fft::Fft(int64_t n) : n_(n) {
  const bool direct = std::has_single_bit(static_cast<uint64_t>(n));
  padded_ = direct ? n : static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(2 * n - 1)));
  for (int64_t k = 0; k < padded_ / 2; ++k) roots_.push_back(half_turns(2 * k, padded_));
  if (direct) return;
  // k^2 mod 2n keeps the angle small, so that it stays exact.
  for (int64_t k = 0, square = 0; k < n; square = (square + 2 * k + 1) % (2 * n), ++k)
    chirp_.push_back(half_turns(square, n));
  spectrum_.assign(static_cast<size_t>(padded_), 0);
  for (int64_t k = 0; k < n; ++k) {
    const Complex value = std::conj(chirp_[static_cast<size_t>(k)]) / static_cast<double>(padded_);
    spectrum_[static_cast<size_t>(k)] = value;
    if (k > 0) spectrum_[static_cast<size_t>(padded_ - k)] = value;
  }
  radix2(spectrum_.data());
}

void Fft::radix2(Complex* x) const {
  for (int64_t i = 1, j = 0; i < padded_; ++i) {  // bit reversal
    int64_t bit = padded_ >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) std::swap(x[i], x[j]);
  }
  for (int64_t length = 2; length <= padded_; length *= 2) {
    const int64_t half = length / 2, step = padded_ / length;
    for (int64_t start = 0; start < padded_; start += length)
      for (int64_t k = 0; k < half; ++k) {
        const Complex turned = times(x[start + half + k], roots_[static_cast<size_t>(k * step)]);
        x[start + half + k] = x[start + k] - turned;
        x[start + k] += turned;
      }
  }
}

void Fft::forward(Complex* x, Complex* workspace) const {
  if (chirp_.empty()) return radix2(x);
  std::fill(workspace + n_, workspace + padded_, Complex{});
  for (int64_t k = 0; k < n_; ++k) workspace[k] = times(x[k], chirp_[static_cast<size_t>(k)]);
  radix2(workspace);
  // The inverse of the product, as the conjugate of a forward transform.
  for (int64_t k = 0; k < padded_; ++k)
    workspace[k] = std::conj(times(workspace[k], spectrum_[static_cast<size_t>(k)]));
  radix2(workspace);
  for (int64_t k = 0; k < n_; ++k)
    x[k] = times(std::conj(workspace[k]), chirp_[static_cast<size_t>(k)]);
}

void Fft::transform(Complex* x, bool inverse, Complex* workspace) const {
  if (!inverse) return forward(x, workspace);
  for (int64_t k = 0; k < n_; ++k) x[k] = std::conj(x[k]);
  forward(x, workspace);
  for (int64_t k = 0; k < n_; ++k) x[k] = std::conj(x[k]) / static_cast<double>(n_);
}

}  // namespace onnxtool
