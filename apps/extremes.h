// The least and greatest number of tensors, for reports.
#pragma once

#include <cstdint>
#include <variant>

#include "apps/report/report.h"
#include "libopt/analysis/statistics.h"

namespace onnxtool {

/// Of the finite elements. Integers are exact, where a double would round them: int64 beyond 2^53,
/// and uint64 beyond what int64 holds, which stand as text.
class ExactExtremes {
 public:
  ExactExtremes() = default;
  ExactExtremes(const Tensor& tensor, const TensorStatistics& statistics) {
    add(tensor, statistics);
  }
  /// Tensors of one type that has statistics, and these.
  void add(const Tensor& tensor, const TensorStatistics& statistics);
  /// No value where there was no finite element.
  Scalar min() const;
  Scalar max() const;

 private:
  template <class T>
  struct Range {
    T low, high;
  };
  template <class T>
  void widen(T least, T greatest);
  template <class Pick>
  Scalar picked(Pick pick) const;

  std::variant<std::monostate, Range<double>, Range<int64_t>, Range<uint64_t>> range_;
};

}  // namespace onnxtool
