// Products with a constant matrix on the right. A row of the left side is a pixel with K channels,
// so this is a 1x1 convolution with N outputs: oneDNN's convolutions are fast on every instruction
// set and add in an order that never changes, its gemm is neither.
#pragma once

#include "calib/kernels/dnnl/convolution.h"

namespace onnxtool {

/// The matrix on the right: [k, n], or [n, k] where it is transposed.
struct ProductSides {
  int64_t k, n;
  bool transposed;
};

ConvolutionProblem rows_problem(int64_t rows, int64_t k, int64_t n);

/// A matrix [k, n], or [n, k] where it is transposed, as that convolution's weights.
dnnl::memory::desc rows_weights(int64_t k, int64_t n, bool transposed, DnnlType type);

/// Rows of input 0, where unknown dims are taken to be one sample and a usual sequence.
int64_t expected_rows(const NodeView& node);

}  // namespace onnxtool
