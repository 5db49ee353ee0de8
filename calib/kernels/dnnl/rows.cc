#include "calib/kernels/dnnl/rows.h"

#include <algorithm>

#include "libopt/support/checked.h"

namespace onnxtool {

ConvolutionProblem rows_problem(int64_t rows, int64_t k, int64_t n) {
  return {.images = 1,
          .in_channels = k,
          .out_channels = n,
          .groups = 1,
          .in = {1, rows},
          .out = {1, rows},
          .kernel = {1, 1},
          .strides = {1, 1},
          .dilations = {1, 1},
          .pads_begin = {0, 0},
          .pads_end = {0, 0}};
}

dnnl::memory::desc rows_weights(int64_t k, int64_t n, bool transposed, DnnlType type) {
  // Output channels first, as a convolution has them.
  return dnnl::memory::desc(
      {n, k, 1, 1}, type,
      transposed ? dnnl::memory::dims{k, 1, 1, 1} : dnnl::memory::dims{1, n, 1, 1});
}

int64_t expected_rows(const NodeView& node) {
  const std::span<const int64_t> known = node.input_dims(0);
  if (known.empty()) return 128;
  std::vector<int64_t> dims(known.begin(), known.end() - 1);
  for (size_t i = 0; i < dims.size(); ++i)
    if (dims[i] < 1) dims[i] = i == 0 ? 1 : 128;
  return std::min<int64_t>(checked_product(dims).value_or(128), int64_t{1} << 24);
}

}  // namespace onnxtool
