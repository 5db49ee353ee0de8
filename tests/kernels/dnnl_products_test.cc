// The oneDNN module's products of integer matrices give the bits of the cpu kernels.
#include <doctest/doctest.h>

#include <iostream>
#include <random>

#include "calib/exec/modules.h"
#include "tests/kernels/one_node.h"

namespace onnxtool::testing {
namespace {

const KernelSet* product_kernel_set() {
  const auto sets = load_kernel_sets("auto");
  for (const KernelSet* set : sets.ok() ? sets->sets : std::vector<const KernelSet*>())
    if (set->name == "dnnl") return set;
  return nullptr;
}

class Maker {
 public:
  explicit Maker(uint32_t seed) : random_(seed) {}
  Tensor codes(const Dims& dims, bool is_signed) {
    return is_signed ? filled<int8_t>(dims) : filled<uint8_t>(dims);
  }
  Tensor scales(int64_t n) {
    std::vector<float> v(static_cast<size_t>(n));
    for (float& s : v) s = 0.0007f * static_cast<float>(1 + random_() % 97);
    return n == 1 ? Tensor::scalar(v[0]) : Tensor::vector(v);
  }
  Tensor floats(const Dims& dims) {
    std::vector<float> v(static_cast<size_t>(count_of(dims)));
    for (float& x : v) x = 0.01f * static_cast<float>(static_cast<int32_t>(random_() % 701) - 200);
    return Tensor::from<float>(dims, v);
  }
  Tensor ints(int64_t n) {
    std::vector<int32_t> v(static_cast<size_t>(n));
    for (int32_t& x : v) x = static_cast<int32_t>(random_() % 200001) - 100000;
    return Tensor::vector(v);
  }

 private:
  template <class T>
  Tensor filled(const Dims& dims) {
    std::vector<T> v(static_cast<size_t>(count_of(dims)));
    for (T& x : v) x = static_cast<T>(random_());
    return Tensor::from<T>(dims, v);
  }
  std::mt19937 random_;
};

struct Case {
  Dims a, b;
  bool signed_a = false, signed_b = true;
  bool b_zero = false;        // another one for each column
  int64_t a_zero_points = 1;  // of MatMulInteger and MatMulIntegerToFloat
  bool transposed = false;    // b, of QGemm
};

Tensor zeros(Maker& make, const Case& c, int64_t n) {
  if (c.b_zero) return make.codes({n}, c.signed_b);
  return c.signed_b ? Tensor::scalar(int8_t{0}) : Tensor::scalar(uint8_t{128});
}

std::vector<OneNode> nodes_of(const Case& c, uint32_t seed) {
  Maker make(seed);
  const int64_t n = c.b[c.transposed ? 0 : 1];
  const Tensor a = make.codes(c.a, c.signed_a), b = make.codes(c.b, c.signed_b);
  const Tensor a_zero = make.codes({}, c.signed_a), y_zero = make.codes({}, !c.signed_a);
  const Tensor a_scale = make.scales(1), b_scales = make.scales(n), y_scale = Tensor::scalar(1.7f);
  const Tensor b_zero = zeros(make, c, n);
  OneNode gemm{.op = "QGemm",
               .opset = 1,
               .inputs = {a, a_scale, a_zero, b, b_scales, b_zero, make.ints(n), y_scale, y_zero},
               .attributes = {{"transB", int64_t{c.transposed}}, {"alpha", 0.75f}},
               .domain = "com.microsoft"};
  if (c.transposed) return {gemm};
  const Tensor a_zeros = c.a_zero_points == 1 ? a_zero : make.codes({c.a_zero_points}, c.signed_a);
  const Tensor a_scales = make.scales(c.a_zero_points);
  std::vector<OneNode> nodes = {
      {.op = "MatMulInteger", .inputs = {a, b, a_zeros, b_zero}},
      {.op = "QLinearMatMul", .inputs = {a, a_scale, a_zero, b, b_scales, b_zero, y_scale, y_zero}},
      {.op = "MatMulIntegerToFloat",
       .opset = 1,
       .inputs = {a, b, a_scales, b_scales, a_zeros, b_zero, make.scales(n)},
       .domain = "com.microsoft"}};
  nodes.push_back({.op = "DynamicQuantizeMatMul",
                   .opset = 1,
                   .inputs = {make.floats(c.a), b, b_scales, b_zero, make.scales(n)},
                   .domain = "com.microsoft"});
  if (c.a.size() == 2) {
    nodes.push_back(gemm);
    gemm.inputs.resize(7);  // floats
    nodes.push_back(gemm);
  }
  return nodes;
}

}  // namespace

TEST_CASE("dnnl: products of integers give the bits of the cpu kernels") {
  const KernelSet* dnnl = product_kernel_set();
  if (!dnnl) {
    std::cout << "SKIP: the oneDNN module is not there\n";
    return;
  }
  const std::vector<Case> cases = {
      {.a = {33, 64}, .b = {64, 48}},
      {.a = {1, 100}, .b = {100, 10}, .signed_a = true},
      {.a = {3, 17, 96}, .b = {96, 80}, .a_zero_points = 17},
      {.a = {19, 40}, .b = {40, 24}, .signed_b = false},
      {.a = {40, 33}, .b = {33, 35}, .signed_a = true, .b_zero = true, .a_zero_points = 40},
      {.a = {2, 5, 64}, .b = {64, 32}, .signed_b = false, .b_zero = true},
      {.a = {21, 64}, .b = {40, 64}, .b_zero = true, .transposed = true},
      {.a = {150, 256}, .b = {512, 256}, .signed_a = true, .transposed = true},
      {.a = {0, 64}, .b = {64, 48}},
      // More to read on the right than on the left: cut by columns.
      {.a = {9, 300}, .b = {300, 600}, .b_zero = true},
      {.a = {5, 200}, .b = {900, 200}, .signed_a = true, .transposed = true},
  };
  uint32_t seed = 100;
  int served = 0;
  for (const Case& c : cases)
    for (const OneNode& node : nodes_of(c, seed++)) {
      INFO(node.op << " of a " << format_dims(c.a) << ", b " << format_dims(c.b));
      const auto expected = run_once(node, 1, cpu_kernel_set(), 1);
      REQUIRE_MESSAGE(expected.ok(), (expected.ok() ? "" : expected.error().message));
      for (const int threads : {1, 2, 5}) {
        const auto found = run_once(node, 1, *dnnl, threads);
        // A machine without VNNI instructions, or a shape without a fast implementation.
        if (!found.ok() && found.error().code == ErrorCode::kUnsupported) break;
        REQUIRE_MESSAGE(found.ok(), (found.ok() ? "" : found.error().message));
        CHECK_MESSAGE(same_bits((*expected)[0], (*found)[0]), threads << " threads");
        ++served;
      }
    }
  if (dnnl->isa == "avx512_core") CHECK(served > 80);
}

TEST_CASE("dnnl: products are exact where float is not") {
  const KernelSet* dnnl = product_kernel_set();
  if (!dnnl) {
    std::cout << "SKIP: the oneDNN module is not there\n";
    return;
  }
  // Odd sums, from just above 2^24 on.
  for (const int64_t k : {769, 4609}) {
    const std::vector<int8_t> ones(static_cast<size_t>(5 * k), 127),
        columns(static_cast<size_t>(k * 16), 127);
    const std::vector<uint8_t> most(static_cast<size_t>(5 * k), 255);
    for (const bool is_signed : {false, true}) {
      const OneNode node{.op = "MatMulInteger",
                         .inputs = {is_signed ? Tensor::from<int8_t>({5, k}, ones)
                                              : Tensor::from<uint8_t>({5, k}, most),
                                    Tensor::from<int8_t>({k, 16}, columns)}};
      const auto expected = run_once(node, 1, cpu_kernel_set(), 1),
                 found = run_once(node, 1, *dnnl, 1);
      REQUIRE(expected.ok());
      if (!found.ok() && found.error().code == ErrorCode::kUnsupported) continue;
      REQUIRE(found.ok());
      CHECK_MESSAGE(same_bits((*expected)[0], (*found)[0]), "k " << k << ", signed " << is_signed);
    }
  }
}

}  // namespace onnxtool::testing
