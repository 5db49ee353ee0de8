// Shapes of matrix products with numpy's rules, shared by the float and integer operators.
#pragma once

#include "calib/kernels/cpu/common.h"

namespace onnxtool {

/// y[batch..., m, n] = a[batch..., m, k] * b[batch..., k, n]; a vector counts as a matrix of one
/// row (left) or column (right) and leaves no dimension in y.
struct MatMulShape {
  int64_t m = 0, n = 0, k = 0;
  Dims out;
  Dims a_batch, b_batch;  // leading dimensions as given
  Dims batch;             // what they broadcast to

  /// For each product in the order of y, which matrix of a (of b) it reads.
  Dims a_index() const { return indices(a_batch); }
  Dims b_index() const { return indices(b_batch); }
  int64_t batches() const { return product(batch); }
  /// Makes one tall product of all when they read the same b and the rows of a follow each other.
  void collapse(bool rows_follow);

 private:
  Dims indices(const Dims& from) const;
};

/// transpose_a and transpose_b swap the last two dimensions of matrices; vectors stay.
Result<MatMulShape> resolve_matmul(std::span<const int64_t> a, std::span<const int64_t> b,
                                   bool transpose_a, bool transpose_b);

}  // namespace onnxtool
