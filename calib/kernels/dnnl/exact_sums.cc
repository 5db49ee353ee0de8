#include "calib/kernels/dnnl/exact_sums.h"

#include <algorithm>
#include <vector>

#include "calib/kernels/dnnl/requantize.h"

namespace onnxtool {

bool sums_fit_float(const ConstView& weights, int64_t outputs, bool transposed) {
  // x - z lies in [-z, 255 - z], so a sum is at most (255 - z) * above + z * below: 255 times the
  // larger of both.
  constexpr int64_t kMost = (int64_t{1} << 24) / 255;
  const int64_t length = weights.count / std::max<int64_t>(outputs, 1);
  const int32_t shift = weights.dtype == DataType::kUint8 ? 128 : 0;
  if (length * 128 < kMost) return true;
  std::vector<int64_t> above(static_cast<size_t>(outputs), 0), below(above);
  for (int64_t i = 0; i < weights.count; ++i) {
    const auto output = static_cast<size_t>(transposed ? i % outputs : i / length);
    const int32_t code = code_at(weights, i) - shift;
    (code > 0 ? above : below)[output] += std::abs(code);
  }
  const auto fits = [](int64_t sum) { return sum < kMost; };
  return std::ranges::all_of(above, fits) && std::ranges::all_of(below, fits);
}

}  // namespace onnxtool
