// Dense products and a factorization for the algorithms that choose codes by what they do to a
// layer's output: GPTQ, AWQ, AdaRound.
//
// They run on the tiles of calib/kernels/cpu, as the calibration before them does: the bits depend
// on the instruction set, not on threads.
#pragma once

#include <cstdint>
#include <vector>

namespace onnxtool {

/// A matrix in memory: element (i, j) at data[i * row + j * column].
struct Strided {
  const float* data = nullptr;
  int64_t row = 0, column = 1;
};

/// c[m, n] = a[m, k] * b[k, n], on the calling thread. Rows of c are `ldc` apart.
void multiply_here(int64_t m, int64_t n, int64_t k, const Strided& a, const Strided& b, float* c,
                   int64_t ldc);

/// The same on all threads.
void multiply(int64_t m, int64_t n, int64_t k, const Strided& a, const Strided& b, float* c,
              int64_t ldc);

/// sums[n, n] += x^T x for x [rows, n], its upper triangle alone (j >= i).
void add_gram(const float* x, int64_t rows, int64_t n, float* sums);

/// Copies the upper triangle into the lower one.
void mirror_upper(float* a, int64_t n);

/// Overwrites the upper triangle of a symmetric positive definite a [n, n] with R, a = R^T R; the
/// lower one becomes zero. False where a pivot is not positive: a is then meaningless.
bool cholesky_upper(std::vector<float>& a, int64_t n);

}  // namespace onnxtool
