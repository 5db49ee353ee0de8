#include "quant/dense.h"

#include <tbb/parallel_for.h>

#include <algorithm>
#include <cmath>

#include "calib/kernels/cpu/gemm.h"

namespace onnxtool {
namespace {

// A task's part of a result: its packed operands stay in a core's cache.
constexpr int64_t kTaskRows = 192, kTaskCols = 256;
// Columns that are factored at a time.
constexpr int64_t kStep = 64;

int64_t task_rows(const GemmIsa& isa) { return kTaskRows / isa.mr * isa.mr; }
int64_t task_cols(const GemmIsa& isa) { return kTaskCols / isa.nr * isa.nr; }

AlignedArray<float> workspace(const GemmIsa& isa, int64_t rows, int64_t k) {
  const int64_t depth = std::min(k, kDepthBlock);
  return AlignedArray<float>(round_up(round_up(rows, isa.mr) * depth, 64) + depth * isa.nr);
}

// One range of the result, whose first element is at c.
void multiply_range(const GemmIsa& isa, const Strided& a, const Strided& b, int64_t k,
                    const GemmRange& r, float* c, int64_t ldc) {
  const MatrixPanels<float> left(a.data, a.column, a.row), right(b.data, b.row, b.column);
  AlignedArray<float> memory = workspace(isa, r.m1 - r.m0, k);
  gemm_range<float>(isa, left, right, k, r, c, ldc, memory.data());
}

// Factors a[first, last) x [first, last) in place and solves the rows behind it.
bool factor_rows(float* a, int64_t n, int64_t first, int64_t last) {
  for (int64_t i = first; i < last; ++i) {
    float* row = a + i * n;
    for (int64_t p = first; p < i; ++p) {
      const float f = a[p * n + i];
      const float* above = a + p * n;
      for (int64_t j = i; j < last; ++j) row[j] -= f * above[j];
    }
    if (!(row[i] > 0) || !std::isfinite(row[i])) return false;
    const float inverse = 1 / std::sqrt(row[i]);
    for (int64_t j = i; j < last; ++j) row[j] *= inverse;
  }
  // Columns behind: each is solved by itself, a stretch of them at a time.
  constexpr int64_t kStretch = 512;
  tbb::parallel_for(int64_t{0}, ceil_div(n - last, kStretch), [&](int64_t s) {
    const int64_t begin = last + s * kStretch, end = std::min(n, begin + kStretch);
    for (int64_t i = first; i < last; ++i) {
      float* row = a + i * n;
      for (int64_t p = first; p < i; ++p) {
        const float f = a[p * n + i];
        const float* above = a + p * n;
        for (int64_t j = begin; j < end; ++j) row[j] -= f * above[j];
      }
      const float inverse = 1 / a[i * n + i];
      for (int64_t j = begin; j < end; ++j) row[j] *= inverse;
    }
  });
  return true;
}

// Calls body(range, sums, stride) for the ranges of x^T x that reach the diagonal or lie above it.
template <class Body>
void upper_products(const Strided& transposed, const Strided& x, int64_t rows, int64_t first,
                    int64_t n, const Body& body) {
  const GemmIsa& isa = gemm_isa();
  const int64_t tr = task_rows(isa), tc = task_cols(isa);
  const int64_t down = ceil_div(n - first, tr), right = ceil_div(n - first, tc);
  tbb::parallel_for(int64_t{0}, down * right, [&](int64_t task) {
    const int64_t i = task / right * tr, j = task % right * tc;
    const GemmRange r = {i, std::min(i + tr, n - first), j, std::min(j + tc, n - first)};
    if (r.n1 <= r.m0) return;
    AlignedArray<float> sums((r.m1 - r.m0) * (r.n1 - r.n0));
    multiply_range(isa, transposed, x, rows, r, sums.data(), r.n1 - r.n0);
    body(r, sums.data(), r.n1 - r.n0);
  });
}

}  // namespace

void multiply_here(int64_t m, int64_t n, int64_t k, const Strided& a, const Strided& b, float* c,
                   int64_t ldc) {
  multiply_range(gemm_isa(), a, b, k, {0, m, 0, n}, c, ldc);
}

void multiply(int64_t m, int64_t n, int64_t k, const Strided& a, const Strided& b, float* c,
              int64_t ldc) {
  const GemmIsa& isa = gemm_isa();
  const int64_t tr = task_rows(isa), tc = task_cols(isa);
  const int64_t down = ceil_div(m, tr), right = ceil_div(n, tc);
  tbb::parallel_for(int64_t{0}, down * right, [&](int64_t task) {
    const int64_t i = task / right * tr, j = task % right * tc;
    multiply_range(isa, a, b, k, {i, std::min(i + tr, m), j, std::min(j + tc, n)}, c + i * ldc + j,
                   ldc);
  });
}

void add_gram(const float* x, int64_t rows, int64_t n, float* sums) {
  upper_products({x, 1, n}, {x, n, 1}, rows, 0, n,
                 [&](const GemmRange& r, const float* tile, int64_t stride) {
                   for (int64_t i = r.m0; i < r.m1; ++i, tile += stride)
                     for (int64_t j = r.n0; j < r.n1; ++j) sums[i * n + j] += tile[j - r.n0];
                 });
}

void mirror_upper(float* a, int64_t n) {
  tbb::parallel_for(int64_t{0}, n, [&](int64_t i) {
    for (int64_t j = 0; j < i; ++j) a[i * n + j] = a[j * n + i];
  });
}

bool cholesky_upper(std::vector<float>& a, int64_t n) {
  for (int64_t first = 0; first < n; first += kStep) {
    const int64_t last = std::min(n, first + kStep);
    if (!factor_rows(a.data(), n, first, last)) return false;
    if (last == n) break;
    // What is left, less the products of the rows just factored.
    const float* rows = a.data() + first * n + last;
    float* rest = a.data() + last * n + last;
    upper_products({rows, 1, n}, {rows, n, 1}, last - first, last, n,
                   [&](const GemmRange& r, const float* tile, int64_t stride) {
                     for (int64_t i = r.m0; i < r.m1; ++i, tile += stride)
                       for (int64_t j = r.n0; j < r.n1; ++j) rest[i * n + j] -= tile[j - r.n0];
                   });
  }
  for (int64_t i = 0; i < n; ++i) std::fill_n(a.data() + i * n, i, 0.0f);
  return true;
}

}  // namespace onnxtool
