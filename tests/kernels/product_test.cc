// Matrix products against the formula, written out.
#include <cmath>

#include "tests/kernels/one_node.h"

namespace onnxtool::testing {
namespace {

/// [m, k] * [k, n] in double.
std::vector<double> multiply(const std::vector<double>& a, const std::vector<double>& b, int64_t m,
                             int64_t k, int64_t n) {
  std::vector<double> y(static_cast<size_t>(m * n));
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j)
      for (int64_t p = 0; p < k; ++p)
        y[static_cast<size_t>(i * n + j)] +=
            a[static_cast<size_t>(i * k + p)] * b[static_cast<size_t>(p * n + j)];
  return y;
}
std::vector<double> transposed(const std::vector<double>& a, int64_t rows, int64_t cols) {
  std::vector<double> y;
  for (int64_t j = 0; j < cols; ++j)
    for (int64_t i = 0; i < rows; ++i) y.push_back(a[static_cast<size_t>(i * cols + j)]);
  return y;
}

struct Extents {
  int64_t m, k, n;
};
// Around the extents of tiles (6 and 12 rows, 8, 16 and 32 columns) and of a block of k (256).
const std::vector<Extents> kExtents = {{1, 1, 1},   {1, 300, 70}, {7, 256, 33}, {13, 257, 31},
                                       {12, 3, 32}, {200, 5, 9},  {6, 512, 8},  {3, 0, 4},
                                       {0, 3, 4},   {5, 40, 0}};

}  // namespace

TEST_CASE("MatMul follows its formula for all extents") {
  uint32_t seed = 1;
  for (const auto& [m, k, n] : kExtents) {
    INFO(m << " x " << k << " x " << n);
    Values values(seed++);
    const Tensor a = values.normal({m, k}), b = values.normal({k, n});
    const std::vector<double> expected = multiply(doubles<float>(a), doubles<float>(b), m, k, n);
    const OneNode node{.op = "MatMul", .inputs = {a, b}};
    check_sums(run_node(node)[0], expected, k);
    check_sums(run_node(node, cpu_kernel_set_portable())[0], expected, k);
  }
}

TEST_CASE("MatMul broadcasts as numpy does") {
  struct Case {
    Dims a, b, y;
  };
  const std::vector<Case> cases = {{{5}, {5}, {}},
                                   {{5}, {5, 3}, {3}},
                                   {{3, 5}, {5}, {3}},
                                   {{2, 3, 5}, {5}, {2, 3}},
                                   {{5}, {2, 5, 3}, {2, 3}},
                                   {{2, 3, 5}, {5, 4}, {2, 3, 4}},
                                   {{3, 5}, {2, 5, 4}, {2, 3, 4}},
                                   {{2, 1, 3, 5}, {1, 6, 5, 4}, {2, 6, 3, 4}},
                                   {{2, 3, 5}, {1, 5, 4}, {2, 3, 4}}};
  uint32_t seed = 20;
  for (const Case& c : cases) {
    INFO(format_dims(c.a) << " * " << format_dims(c.b));
    Values values(seed++);
    const Tensor a = values.normal(c.a), b = values.normal(c.b);
    const std::vector<double> xs = doubles<float>(a), ws = doubles<float>(b);
    const Dims a_dims = c.a.size() == 1 ? Dims{1, c.a[0]} : c.a,
               b_dims = c.b.size() == 1 ? Dims{c.b[0], 1} : c.b;
    const int64_t m = a_dims[a_dims.size() - 2], k = a_dims.back(), n = b_dims.back();
    // Which matrix a product reads: its index in y with the axes that are 1 left out.
    const Dims batch(c.y.begin(), c.y.end() - (c.a.size() > 1) - (c.b.size() > 1));
    const auto matrix = [&](int64_t product, const Dims& dims) {
      int64_t at = 0, step = 1;
      for (size_t i = 0; i < batch.size(); ++i) {
        const int64_t extent = batch[batch.size() - 1 - i], index = product % extent;
        product /= extent;
        if (i + 2 >= dims.size()) continue;
        const int64_t own = dims[dims.size() - 3 - i];
        at += (own == 1 ? 0 : index) * step;
        step *= own;
      }
      return at;
    };
    std::vector<double> expected;
    for (int64_t p = 0; p < count_of(batch); ++p) {
      const auto at = [](const std::vector<double>& v, int64_t i, int64_t size) {
        return std::vector<double>(v.begin() + i * size, v.begin() + (i + 1) * size);
      };
      for (const double v :
           multiply(at(xs, matrix(p, a_dims), m * k), at(ws, matrix(p, b_dims), k * n), m, k, n))
        expected.push_back(v);
    }
    const std::vector<Tensor> y = run_node({.op = "MatMul", .inputs = {a, b}});
    CHECK(y[0].dims() == c.y);
    check_sums(y[0], expected, k);
  }
}

TEST_CASE("MatMul of integers wraps") {
  const Tensor a = Tensor::from<int32_t>({1, 2}, std::vector<int32_t>{INT32_MAX, 2}),
               b = Tensor::from<int32_t>({2, 1}, std::vector<int32_t>{2, 3});
  CHECK(run_node({.op = "MatMul", .inputs = {a, b}})[0].values<int32_t>()[0] == 4);
}

TEST_CASE("Gemm scales, transposes and adds") {
  uint32_t seed = 40;
  for (const auto& [m, k, n] : kExtents)
    for (const int64_t transposes : {0, 1, 2, 3}) {
      INFO(m << " x " << k << " x " << n << " transposes " << transposes);
      const int64_t ta = transposes & 1, tb = transposes >> 1;
      Values values(seed++);
      const Tensor a = values.normal(ta ? Dims{k, m} : Dims{m, k}),
                   b = values.normal(tb ? Dims{n, k} : Dims{k, n});
      const std::vector<Dims> shapes = {{m, n}, {n}, {1, n}, {m, 1}, {1}, {}};
      const Tensor c = values.normal(shapes[seed % shapes.size()]);
      const std::vector<double> as = doubles<float>(a), bs = doubles<float>(b),
                                cs = doubles<float>(c);
      std::vector<double> expected =
          multiply(ta ? transposed(as, k, m) : as, tb ? transposed(bs, n, k) : bs, m, k, n);
      for (int64_t i = 0; i < m * n; ++i) {
        const size_t at = c.dims() == Dims{m, n}   ? static_cast<size_t>(i)
                          : c.dims() == Dims{m, 1} ? static_cast<size_t>(i / n)
                          : c.count() == 1         ? 0
                                                   : static_cast<size_t>(i % n);
        expected[static_cast<size_t>(i)] = 0.5 * expected[static_cast<size_t>(i)] + 2 * cs[at];
      }
      check_sums(
          run_node(
              {.op = "Gemm",
               .inputs = {a, b, c},
               .attributes = {{"transA", ta}, {"transB", tb}, {"alpha", 0.5f}, {"beta", 2.0f}}})[0],
          expected, k);
    }
}

TEST_CASE("MatMulInteger is exact for all signs and zero points") {
  uint32_t seed = 200;
  for (const auto& [m, k, n] : kExtents) {
    INFO(m << " x " << k << " x " << n);
    Values values(seed++);
    const Tensor a = values.integers<uint8_t>({m, k}), b = values.integers<int8_t>({k, n});
    const Tensor a_zero = values.integers<uint8_t>({m}), b_zero = values.integers<int8_t>({n});
    std::vector<double> as = doubles<uint8_t>(a), bs = doubles<int8_t>(b);
    const std::vector<double> az = doubles<uint8_t>(a_zero), bz = doubles<int8_t>(b_zero);
    for (size_t i = 0; i < as.size(); ++i) as[i] -= az[i / static_cast<size_t>(k)];
    for (size_t i = 0; i < bs.size(); ++i) bs[i] -= bz[i % static_cast<size_t>(n)];
    CHECK(
        doubles<int32_t>(run_node({.op = "MatMulInteger", .inputs = {a, b, a_zero, b_zero}})[0]) ==
        multiply(as, bs, m, k, n));
    CHECK(doubles<int32_t>(run_node({.op = "MatMulInteger", .inputs = {a, b}})[0]) ==
          multiply(doubles<uint8_t>(a), doubles<int8_t>(b), m, k, n));
  }
}

TEST_CASE("QLinearMatMul scales per column, rounds half to even and saturates") {
  uint32_t seed = 300;
  for (const auto& [m, k, n] : kExtents) {
    INFO(m << " x " << k << " x " << n);
    Values values(seed++);
    const Tensor a = values.integers<int8_t>({2, m, k}), b = values.integers<uint8_t>({k, n});
    // Factors of 2^-k make the products exact, so that halves really occur.
    std::vector<float> scales;
    for (int64_t j = 0; j < n; ++j) scales.push_back(j % 2 ? 0.25f : 0.125f);
    std::vector<uint8_t> zeros(static_cast<size_t>(n), 128);
    std::vector<double> bs = doubles<uint8_t>(b);
    for (double& v : bs) v -= 128;
    std::vector<double> expected = multiply(doubles<int8_t>(a), bs, 2 * m, k, n);
    for (size_t i = 0; i < expected.size(); ++i)
      expected[i] = std::clamp(
          std::nearbyint(expected[i] * (i % static_cast<size_t>(n) % 2 ? 0x1p-7 : 0x1p-8)) - 5,
          -128.0, 127.0);
    const std::vector<Tensor> y =
        run_node({.op = "QLinearMatMul",
                  .inputs = {a, Tensor::scalar(0.5f), Tensor::scalar<int8_t>(0), b,
                             Tensor::from<float>({n}, scales), Tensor::from<uint8_t>({n}, zeros),
                             Tensor::scalar(16.0f), Tensor::scalar<int8_t>(-5)}});
    CHECK(y[0].dims() == Dims{2, m, n});
    CHECK(doubles<int8_t>(y[0]) == expected);
  }
}

TEST_CASE("what does not fit a product is said") {
  Values values(1);
  const auto said = [&](const char* op, std::vector<Dims> inputs) {
    OneNode node{.op = op};
    for (Dims& dims : inputs) node.inputs.push_back(values.normal(std::move(dims)));
    return error_of(node);
  };
  CHECK(mentions(said("MatMul", {{2, 3}, {4, 5}}), "over 3 and 4 elements"));
  CHECK(mentions(said("MatMul", {{}, {4, 5}}), "expected a rank of at least 1"));
  CHECK(mentions(said("MatMul", {{2, 2, 3}, {3, 3, 5}}), "do not broadcast"));
  CHECK(mentions(said("Gemm", {{2, 3}, {4, 5}}), "over 3 and 4 elements"));
  CHECK(mentions(said("Gemm", {{2, 3, 1}, {3, 5}}), "expected rank 2"));
  CHECK(mentions(said("Gemm", {{2, 3}, {3, 5}, {2}}), "does not broadcast to [2, 5]"));
}

}  // namespace onnxtool::testing
