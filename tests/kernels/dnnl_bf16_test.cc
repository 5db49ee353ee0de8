// Products in bfloat16: those of float32 on operands that were rounded first.
#include <algorithm>
#include <iostream>

#include "calib/exec/modules.h"
#include "libopt/support/half.h"
#include "tests/kernels/one_node.h"

namespace onnxtool::testing {
namespace {

// nullptr, with a line that says so, without the module or the instructions.
const KernelSet* bf16_kernel_set() {
  auto sets = load_kernel_sets("auto");
  if (sets.ok() && use_precision(*sets, "bf16").ok())
    for (const KernelSet* set : sets->sets)
      if (set->name == "dnnl-bf16") return set;
  std::cout << "SKIP: no products in bfloat16 on this machine\n";
  return nullptr;
}

Tensor normal(Dims dims, std::mt19937& random) {
  std::vector<float> values(static_cast<size_t>(count_of(dims)));
  std::normal_distribution<float> distribution;
  for (float& v : values) v = distribution(random);
  return Tensor::from<float>(std::move(dims), values);
}

Tensor rounded(const Tensor& t) {
  std::vector<float> values;
  for (const float v : t.values<float>()) values.push_back(static_cast<float>(Bfloat16(v)));
  return Tensor::from<float>(t.dims(), values);
}

struct Case {
  OneNode node;
  size_t first_constant;
  int64_t terms;  // that a result adds up
};

std::vector<Case> cases() {
  std::mt19937 random(5);
  const auto n = [&](Dims dims) { return normal(std::move(dims), random); };
  return {
      {{.op = "Conv",
        .inputs = {n({1, 64, 14, 14}), n({96, 64, 3, 3}), n({96})},
        .attributes = {{"pads", Dims{1, 1, 1, 1}}}},
       1,
       64 * 9},
      {{.op = "Conv",
        .inputs = {n({2, 3, 40, 37}), n({32, 3, 7, 7})},
        .attributes = {{"strides", Dims{2, 2}}}},
       1,
       3 * 49},
      {{.op = "Conv", .inputs = {n({1, 256, 7, 7}), n({512, 256, 1, 1}), n({512})}}, 1, 256},
      {{.op = "MatMul", .inputs = {n({3, 50, 300}), n({300, 170})}}, 1, 300},
      {{.op = "MatMul", .inputs = {n({1, 700}), n({700, 1000})}}, 1, 700},
      {{.op = "Gemm",
        .inputs = {n({40, 256}), n({128, 256}), n({128})},
        .attributes = {{"transB", int64_t{1}}}},
       1,
       256},
      {{.op = "MatMul", .inputs = {n({2, 6, 90, 64}), n({2, 6, 64, 90})}}, 2, 64},
  };
}

}  // namespace

TEST_CASE("dnnl-bf16: float32 products of rounded operands, whatever the number of threads") {
  const KernelSet* set = bf16_kernel_set();
  if (!set) return;
  int served = 0;
  for (const Case& c : cases()) {
    INFO(c.node.op << " of " << format_dims(c.node.inputs[0].dims()) << " and "
                   << format_dims(c.node.inputs[1].dims()));
    OneNode exact = c.node;
    for (const size_t i : {0, 1}) exact.inputs[i] = rounded(exact.inputs[i]);
    const auto expected = run_once(exact, c.first_constant, cpu_kernel_set(), 1);
    const auto whole = run_once(c.node, c.first_constant, cpu_kernel_set(), 1);
    const auto one = run_once(c.node, c.first_constant, *set, 1);
    // A shape without a fast implementation is left to float32.
    if (!one.ok() && one.error().code == ErrorCode::kUnsupported) continue;
    REQUIRE_MESSAGE(one.ok(), (one.ok() ? "" : one.error().message));
    REQUIRE(expected.ok());
    ++served;
    // Partial sums of products of standard normal factors are of size sqrt(terms), and so is the
    // number of roundings that stay; rounding the operands leaves some 2^-9 of that size.
    const double size = std::sqrt(static_cast<double>(c.terms));
    const auto y = (*one)[0].values<float>(), e = (*expected)[0].values<float>(),
               w = (*whole)[0].values<float>();
    double error = 0, rounding = 0;
    for (size_t i = 0; i < y.size(); ++i) {
      error = std::max(error, static_cast<double>(std::abs(y[i] - e[i])));
      rounding = std::max(rounding, static_cast<double>(std::abs(y[i] - w[i])));
    }
    CHECK(error < 16 * 0x1p-24 * size * size);
    CHECK(rounding < 8 * 0x1p-8 * size);
    CHECK(rounding > 0x1p-12 * size);  // it is not float32 that ran
    for (const int threads : {2, 3, 7}) {
      const auto many = run_once(c.node, c.first_constant, *set, threads);
      REQUIRE(many.ok());
      CHECK_MESSAGE(std::ranges::equal((*many)[0].bytes(), (*one)[0].bytes()),
                    threads << " threads");
    }
  }
  CHECK(served >= 5);
}

TEST_CASE("dnnl-bf16: NaN and infinities pass, and nothing else becomes one") {
  const KernelSet* set = bf16_kernel_set();
  if (!set) return;
  std::vector<float> a(32 * 64, 0.5f), b(64 * 64, 0.25f);
  a[0] = std::numeric_limits<float>::quiet_NaN();
  a[64] = std::numeric_limits<float>::infinity();
  a[128] = 0x1.fep127f;                         // the largest bfloat16
  a[192] = -std::numeric_limits<float>::max();  // which lies half a step above it and more
  b[1] = 0;                                     // times an infinity, that would be NaN
  const OneNode node{.op = "MatMul",
                     .inputs = {Tensor::from<float>({32, 64}, a), Tensor::from<float>({64, 64}, b)}};
  const auto y = run_once(node, 1, *set, 1);
  REQUIRE_MESSAGE(y.ok(), (y.ok() ? "" : y.error().message));
  const auto values = (*y)[0].values<float>();
  CHECK(std::isnan(values[0]));
  CHECK(values[64] == std::numeric_limits<float>::infinity());
  CHECK(values[128] == 0x1.fep125f);
  CHECK(values[192] == -0x1.fep125f);
  CHECK(values[193] == 7.875f);
  CHECK(values[256] == 8.0f);
}

TEST_CASE("products in bfloat16 without the oneDNN kernels are an error") {
  auto sets = load_kernel_sets("cpu");
  REQUIRE(sets.ok());
  const Status refused = use_precision(*sets, "bf16");
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().message == "products in bfloat16 need the kernel set dnnl");
}

}  // namespace onnxtool::testing
