// Matrix products on a device: cuBLASLt in the module, plain loops where tests stand in for one.
#pragma once

#include "calib/kernels/cuda/elements.h"

namespace onnxtool::device {

/// c[i] = alpha * op(a[i]) * op(b[i]) for i < count, row-major and dense; op transposes where said.
/// Sums are float (double for double), in an order that depends on shapes alone.
struct Product {
  DataType type = DataType::kFloat;    // of a and b: float, double, float16 or bfloat16
  DataType result = DataType::kFloat;  // of c: `type`, or float for the 16-bit ones
  bool transpose_a = false, transpose_b = false;
  int64_t m = 0, n = 0, k = 0, count = 1;
  const void *a = nullptr, *b = nullptr;
  void* c = nullptr;
  int64_t a_step = 0, b_step = 0, c_step = 0;  // elements from one product to the next
  float alpha = 1;
};

Status multiply(KernelContext& ctx, const Product& product);

}  // namespace onnxtool::device
