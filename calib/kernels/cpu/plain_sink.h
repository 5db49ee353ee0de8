// Products whose sums go straight to memory, with nothing done to them but a bias.
#pragma once

#include "calib/kernels/cpu/gemm.h"

namespace onnxtool {

/// y is [batches, m, n]; bias: [batches, m] or nullptr.
template <class T>
class PlainSink final : public ProductSink<T> {
 public:
  PlainSink(T* y, int64_t m, int64_t n, const T* bias = nullptr)
      : y_(y), m_(m), n_(n), bias_(bias) {}
  int64_t buffer_count(int64_t) const override { return 0; }
  T* target(int64_t batch, const GemmRange& range, T*, int64_t* stride) const override {
    *stride = n_;
    return y_ + (batch * m_ + range.m0) * n_ + range.n0;
  }
  void finish(int64_t batch, const GemmRange& range, T* sums, int64_t stride) const override {
    if (bias_ == nullptr) return;
    for (int64_t i = range.m0; i < range.m1; ++i, sums += stride)
      for (int64_t j = 0; j < range.n1 - range.n0; ++j) sums[j] += bias_[batch * m_ + i];
  }

 private:
  T* y_;
  int64_t m_, n_;
  const T* bias_;
};

/// y is [m, n]; bias: [n] or nullptr.
template <class T>
class ColumnBiasSink final : public ProductSink<T> {
 public:
  ColumnBiasSink(T* y, int64_t n, const T* bias) : y_(y), n_(n), bias_(bias) {}
  int64_t buffer_count(int64_t) const override { return 0; }
  T* target(int64_t, const GemmRange& range, T*, int64_t* stride) const override {
    *stride = n_;
    return y_ + range.m0 * n_ + range.n0;
  }
  void finish(int64_t, const GemmRange& range, T* sums, int64_t stride) const override {
    for (int64_t i = range.m0; bias_ != nullptr && i < range.m1; ++i, sums += stride)
      for (int64_t j = range.n0; j < range.n1; ++j) sums[j - range.n0] += bias_[j];
  }

 private:
  T* y_;
  int64_t n_;
  const T* bias_;
};

}  // namespace onnxtool
