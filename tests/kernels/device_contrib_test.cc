// com.microsoft's operators on a device against the host's, in all their forms.
#include <doctest/doctest.h>

#include "calib/exec/plan.h"
#include "calib/kernels/cpu/cpu_kernels.h"
#include "libopt/analysis/seam.h"
#include "tests/support/data_set.h"
#include "tests/support/devices.h"

namespace onnxtool::testing {
namespace {

class Draws {
 public:
  uint32_t next() { return (state_ = state_ * 1664525u + 1013904223u) >> 8; }
  Tensor floats(std::vector<int64_t> dims) {
    std::vector<float> v(static_cast<size_t>(count(dims)));
    for (float& x : v) x = static_cast<float>(next()) / 8388608.0f - 1.0f;
    return Tensor::from<float>(std::move(dims), v);
  }
  Tensor bytes(std::vector<int64_t> dims) {
    std::vector<uint8_t> v(static_cast<size_t>(count(dims)));
    for (uint8_t& x : v) x = static_cast<uint8_t>(next());
    return Tensor::from<uint8_t>(std::move(dims), v);
  }
  template <class T>
  Tensor below(T end, std::vector<int64_t> dims) {
    std::vector<T> v(static_cast<size_t>(count(dims)));
    for (T& x : v) x = static_cast<T>(next() % static_cast<uint32_t>(end));
    return Tensor::from<T>(std::move(dims), v);
  }

 private:
  static int64_t count(const std::vector<int64_t>& dims) {
    int64_t n = 1;
    for (const int64_t d : dims) n *= d;
    return n;
  }
  uint32_t state_ = 11;
};

// One node of inputs i0, i1, ...; those that are not given are absent.
void check_on_devices(const std::string& node, const std::vector<std::optional<Tensor>>& given,
                      int outputs, double tolerance) {
  std::string inputs, arguments, results;
  std::vector<Tensor> tensors;
  for (size_t i = 0; i < given.size(); ++i) {
    if (i) arguments += ", ";
    if (!given[i]) continue;
    const std::string name = "i" + std::to_string(i);
    std::string dims;
    for (const int64_t d : given[i]->dims()) dims += (dims.empty() ? "" : ",") + std::to_string(d);
    inputs += (inputs.empty() ? "" : ", ") + std::string(onnxtool::name(given[i]->dtype())) + "[" +
              dims + "] " + name;
    arguments += name;
    tensors.push_back(*given[i]);
  }
  for (int i = 0; i < outputs; ++i) results += (i ? ", y" : "y") + std::to_string(i);
  auto model = parse_text(R"(<ir_version: 10, opset_import: ["" : 21, "com.microsoft" : 1]> g ()" +
                          inputs + ") => (" + results + ") { " + results + " = com.microsoft." +
                          node + " (" + arguments + ") }");
  REQUIRE_MESSAGE(model.ok(), (model.ok() ? "" : model.error().message));
  REQUIRE(infer_graph((*model)->graph()).ok());
  const auto run = [&](std::vector<const KernelSet*> sets, std::string* kernels) {
    PlanOptions options;
    options.kernel_sets = std::move(sets);
    const auto plan = Plan::compile((*model)->graph(), options);
    REQUIRE_MESSAGE(plan.ok(), (plan.ok() ? "" : plan.error().message));
    *kernels = (*plan)->describe_kernels();
    std::vector<Tensor> found;
    const Status s = RunContext(*plan).run(tensors, &found);
    REQUIRE_MESSAGE(s.ok(), (s.ok() ? "" : s.error().message));
    return found;
  };
  std::string kernels;
  const std::vector<Tensor> expected = run({&cpu_kernel_set()}, &kernels);
  for (const KernelSet* device : devices()) {
    const std::vector<Tensor> found = run({device, &cpu_kernel_set()}, &kernels);
    CHECK_MESSAGE(kernels.starts_with("cuda: 1 step;"), kernels);
    for (size_t i = 0; i < expected.size(); ++i) {
      const Status s = compare_tensors(expected[i], found[i], {tolerance, tolerance});
      CHECK_MESSAGE(s.ok(), device->isa << ": " << node << ", output " << i << ": "
                                        << (s.ok() ? "" : s.error().message));
    }
  }
}

TEST_CASE("device kernels: products of weights of few bits, as the host's") {
  Draws draws;
  constexpr int64_t kK = 70, kN = 9;
  for (const int64_t bits : {2, 4, 8})
    for (const int64_t block : {16, 32})
      for (const int level : {0, 4})
        for (const int zeros : {0, 1, 2}) {  // none, packed, floats
          const int64_t blocks = (kK + block - 1) / block;
          std::vector<std::optional<Tensor>> inputs = {draws.floats({2, 3, kK}),
                                                       draws.bytes({kN, blocks, block * bits / 8}),
                                                       draws.floats({kN * blocks})};
          if (zeros == 1) inputs.push_back(draws.bytes({kN * ((blocks * bits + 7) / 8)}));
          if (zeros == 2) inputs.push_back(draws.floats({kN * blocks}));
          if (level == 4) {
            inputs.resize(5);
            inputs.push_back(draws.floats({kN}));
          }
          // Codes reach 255, so sums of 70 products some 10^4.
          check_on_devices("MatMulNBits <K = 70, N = 9, bits = " + std::to_string(bits) +
                               ", block_size = " + std::to_string(block) +
                               ", accuracy_level = " + std::to_string(level) + ">",
                           inputs, 1, bits == 8 ? 5e-3 : 1e-4);
        }
}

TEST_CASE("device kernels: embeddings that are summed and normalized, as the host's") {
  Draws draws;
  for (const bool has_segments : {true, false})
    for (const bool has_positions : {true, false}) {
      std::vector<std::optional<Tensor>> inputs(9);
      inputs[0] = draws.below<int32_t>(11, {3, 5});
      inputs[2] = draws.floats({11, 40});
      inputs[3] = draws.floats({6, 40});
      inputs[5] = draws.floats({40});
      inputs[6] = draws.floats({40});
      inputs[7] = draws.below<int32_t>(2, {3, 5});
      if (has_segments) {
        inputs[1] = draws.below<int32_t>(2, {3, 5});
        inputs[4] = draws.floats({2, 40});
      }
      if (has_positions) inputs[8] = draws.below<int32_t>(6, {1, 5});
      check_on_devices("EmbedLayerNormalization <epsilon = 0.001>", inputs, 3, 1e-5);
    }
}

}  // namespace
}  // namespace onnxtool::testing
