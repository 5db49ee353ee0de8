// Transposition of 32-bit elements, for the files of vector_math_loops.h and under its rules.
#pragma once

#include <cstdint>

namespace onnxtool {
namespace {

typedef uint32_t Lanes __attribute__((vector_size(32)));
typedef uint32_t LooseLanes __attribute__((vector_size(32), aligned(4), may_alias));
constexpr int64_t kBlock = 8;

// Pairs, then pairs of pairs, then halves change places.
inline void transpose_block(const uint32_t* x, int64_t x_stride, uint32_t* y, int64_t y_stride) {
  Lanes a[kBlock], b[kBlock];
  for (int i = 0; i < kBlock; ++i) a[i] = *reinterpret_cast<const LooseLanes*>(x + i * x_stride);
  for (int i = 0; i < kBlock; i += 2) {
    b[i] = __builtin_shufflevector(a[i], a[i + 1], 0, 8, 2, 10, 4, 12, 6, 14);
    b[i + 1] = __builtin_shufflevector(a[i], a[i + 1], 1, 9, 3, 11, 5, 13, 7, 15);
  }
  for (int i = 0; i < kBlock; i += 4)
    for (int j = 0; j < 2; ++j) {
      a[i + j] = __builtin_shufflevector(b[i + j], b[i + j + 2], 0, 1, 8, 9, 4, 5, 12, 13);
      a[i + j + 2] = __builtin_shufflevector(b[i + j], b[i + j + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    }
  for (int i = 0; i < 4; ++i) {
    *reinterpret_cast<LooseLanes*>(y + i * y_stride) =
        __builtin_shufflevector(a[i], a[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
    *reinterpret_cast<LooseLanes*>(y + (i + 4) * y_stride) =
        __builtin_shufflevector(a[i], a[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
  }
}

// Three long lines become pixels of three channels, and back: loops that need no blocks.
inline void interleave3(const uint32_t* x, int64_t x_stride, uint32_t* __restrict y, int64_t n) {
  const uint32_t *a = x, *b = x + x_stride, *c = b + x_stride;
  for (int64_t i = 0; i < n; ++i) y[3 * i] = a[i], y[3 * i + 1] = b[i], y[3 * i + 2] = c[i];
}
inline void separate3(const uint32_t* x, uint32_t* y, int64_t y_stride, int64_t n) {
  uint32_t* __restrict a = y, * __restrict b = y + y_stride, * __restrict c = y + 2 * y_stride;
  for (int64_t i = 0; i < n; ++i) a[i] = x[3 * i], b[i] = x[3 * i + 1], c[i] = x[3 * i + 2];
}

inline void transpose32_loop(const uint32_t* x, int64_t x_stride, uint32_t* y, int64_t y_stride,
                             int64_t rows, int64_t columns) {
  if (rows == 3 && y_stride == 3) return interleave3(x, x_stride, y, columns);
  if (columns == 3 && x_stride == 3) return separate3(x, y, y_stride, rows);
  const int64_t whole_rows = rows / kBlock * kBlock, whole_columns = columns / kBlock * kBlock;
  for (int64_t c = 0; c < whole_columns; c += kBlock)
    for (int64_t r = 0; r < whole_rows; r += kBlock)
      transpose_block(x + r * x_stride + c, x_stride, y + c * y_stride + r, y_stride);
  // What is left at the right, then at the bottom.
  for (int64_t c = whole_columns; c < columns; ++c)
    for (int64_t r = 0; r < rows; ++r) y[c * y_stride + r] = x[r * x_stride + c];
  for (int64_t c = 0; c < whole_columns; ++c)
    for (int64_t r = whole_rows; r < rows; ++r) y[c * y_stride + r] = x[r * x_stride + c];
}

}  // namespace
}  // namespace onnxtool
