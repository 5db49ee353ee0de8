// What the figures of samples and of parts of samples are put together with.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <type_traits>
#include <vector>

#include "calib/compare/metrics.h"
#include "libopt/support/half.h"

namespace onnxtool {

/// Pairwise sum of a stream: partial sums of 1, 2, 4, ... terms, joined as equals meet.
template <class T>
class PairwiseSum {
 public:
  void add(T x) {
    uint64_t n = ++count_;
    for (; !(n & 1); n >>= 1) {
      x += partial_.back();
      partial_.pop_back();
    }
    partial_.push_back(x);
  }
  T total() const {
    T sum = 0;
    for (size_t i = partial_.size(); i-- > 0;) sum += partial_[i];
    return sum;
  }

 private:
  uint64_t count_ = 0;
  std::vector<T> partial_;
};

/// Adds up what can be added exactly, b behind a: counts, and the largest of values that have no
/// place. Sums and the places of the largest errors are left to the caller.
void join_counts(SampleMetrics& a, const SampleMetrics& b);

/// The place of the largest element, ties to the lower one; NaN never wins; -1: empty or all NaN.
int64_t argmax_of(std::span<const double> values);
/// The places of the k largest, ties to the lower one, NaN last. k is at most the number of values.
void top_of(std::span<const double> values, size_t k, std::vector<int64_t>& places);
/// KL(softmax(r) || softmax(t)); nullopt where NaN or +inf leaves no distribution.
std::optional<double> divergence(std::span<const double> r, std::span<const double> t);

/// A value of a floating type as double.
template <class T>
double widen(T v) {
  if constexpr (std::is_same_v<T, Half> || std::is_same_v<T, Bfloat16>)
    return static_cast<double>(static_cast<float>(v));
  else
    return static_cast<double>(v);
}

/// Calls visit with a value of the C++ type of a floating tensor; false: it is none.
template <class Visit>
bool visit_floating(DataType type, Visit&& visit) {
  switch (type) {
    case DataType::kFloat: visit(float{}); return true;
    case DataType::kDouble: visit(double{}); return true;
    case DataType::kFloat16: visit(Half{}); return true;
    case DataType::kBfloat16: visit(Bfloat16{}); return true;
    default: return false;
  }
}

}  // namespace onnxtool
