// Dense products and the factor, against plain loops in double.

#include "quant/dense.h"

#include <doctest/doctest.h>

#include <cmath>
#include <random>

namespace onnxtool {
namespace {

std::vector<float> normal(int64_t count, uint64_t seed) {
  std::mt19937_64 engine(seed);
  std::normal_distribution<float> draw;
  std::vector<float> out(static_cast<size_t>(count));
  for (float& v : out) v = draw(engine);
  return out;
}

// Extents that fill no tile, one task and several.
TEST_CASE("dense: products and sums of x x^T are those of plain loops") {
  const int64_t m = 205, n = 301, k = 270;
  const auto a = normal(m * k, 1), b = normal(n * k, 2);
  std::vector<float> c(static_cast<size_t>(m * n)), here(c), gram(static_cast<size_t>(n * n), 1);
  multiply(m, n, k, {a.data(), k, 1}, {b.data(), 1, k}, c.data(), n);
  multiply_here(m, n, k, {a.data(), k, 1}, {b.data(), 1, k}, here.data(), n);
  CHECK(c == here);
  add_gram(b.data(), k, n, gram.data());
  mirror_upper(gram.data(), n);
  double worst = 0, worst_gram = 0;
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (int64_t p = 0; p < k; ++p)
        sum += static_cast<double>(a[static_cast<size_t>(i * k + p)]) *
               b[static_cast<size_t>(j * k + p)];
      worst = std::max(worst, std::abs(sum - c[static_cast<size_t>(i * n + j)]));
    }
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j) {
      double sum = 1;
      for (int64_t p = 0; p < k; ++p)
        sum += static_cast<double>(b[static_cast<size_t>(p * n + i)]) *
               b[static_cast<size_t>(p * n + j)];
      worst_gram = std::max(worst_gram, std::abs(sum - gram[static_cast<size_t>(i * n + j)]));
    }
  CHECK(worst < 1e-3);
  CHECK(worst_gram < 1e-3);
}

TEST_CASE("dense: the factor gives the matrix back, and refuses one that is not definite") {
  for (const int64_t n : {1, 63, 64, 65, 333}) {
    CAPTURE(n);
    const auto x = normal(2 * n * n, 3);
    std::vector<float> a(static_cast<size_t>(n * n));
    add_gram(x.data(), 2 * n, n, a.data());
    mirror_upper(a.data(), n);
    std::vector<float> r = a;
    REQUIRE(cholesky_upper(r, n));
    double worst = 0;
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < n; ++j) {
        double sum = 0;
        for (int64_t p = 0; p < n; ++p)
          sum += static_cast<double>(r[static_cast<size_t>(p * n + i)]) *
                 r[static_cast<size_t>(p * n + j)];
        worst = std::max(worst, std::abs(sum - a[static_cast<size_t>(i * n + j)]));
        if (j < i) CHECK(r[static_cast<size_t>(i * n + j)] == 0);
      }
    CHECK(worst < 1e-4 * static_cast<double>(n + 1));
    a[static_cast<size_t>(n * n) - 1] = -1;
    CHECK(!cholesky_upper(a, n));
  }
}

}  // namespace
}  // namespace onnxtool
