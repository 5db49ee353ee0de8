// Statistics of constants.
#pragma once

#include <cstdint>
#include <vector>

#include "libopt/ir/tensor.h"

namespace onnxtool {

/// False for strings and complex numbers.
bool has_statistics(DataType dtype);

struct TensorStatistics {
  int64_t zeros = 0, nan = 0, infinite = 0, finite = 0;
  double min = 0, max = 0, mean = 0, std = 0;  // of the finite ones
};
TensorStatistics statistics_of(const Tensor& tensor);

/// Counts of the finite values in equal steps from `low` to `high`. Integers that span less than
/// 256 have a step for each, which begins at half a unit below it.
struct ValueCounts {
  double low = 0, high = 0;
  std::vector<int64_t> counts;  // empty where no value is finite
};
ValueCounts count_values(const Tensor& tensor, size_t steps);

}  // namespace onnxtool
