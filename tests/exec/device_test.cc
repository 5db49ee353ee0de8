// Plans that run in two memory spaces: what runs where, which values travel, and that nothing else
// reaches the other side.
#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <iostream>

#include "calib/exec/plan.h"
#include "calib/kernels/cpu/cpu_kernels.h"
#include "libopt/analysis/seam.h"
#include "libopt/io/load.h"
#include "tests/support/data_set.h"
#include "tests/support/fake_device.h"

namespace onnxtool::testing {
namespace {

namespace fs = std::filesystem;

PlanOptions on_device() {
  PlanOptions options;
  options.kernel_sets = {&fake_device_set(), &cpu_kernel_set()};
  return options;
}

std::shared_ptr<const Plan> device_plan(const std::string& text) {
  auto model = parse_text(text);
  REQUIRE(model.ok());
  REQUIRE(infer_graph((*model)->graph()).ok());
  auto plan = Plan::compile((*model)->graph(), on_device());
  REQUIRE_MESSAGE(plan.ok(), (plan.ok() ? "" : plan.error().message));
  return *plan;
}

TEST_CASE("computing with shapes stays on the host, and so nothing is copied for it") {
  const auto plan = device_plan(R"(<ir_version: 8, opset_import: ["" : 17]>
g (float[N,2,3] x) => (float[N,6] y) <int64[1] zero = {0}, int64[1] rest = {-1}>
{ s = Shape (x)  n = Gather (s, zero)  d = Concat <axis = 0> (n, rest)
  a = Neg (x)  y = Reshape (a, d) })");
  CHECK(plan->describe_kernels() ==
        "cpu: 3 steps, fake: 2 steps; 1 values copied to the device, 1 from it");
}

TEST_CASE("constants go to the device once, other values once a run") {
  const auto plan = device_plan(R"(<ir_version: 8, opset_import: ["" : 17]>
g (float[4] x) => (float[4] y, float[4] z) <float[4] w = {1.0, 2.0, 3.0, 4.0}>
{ a = Mul (x, w)  b = Add (x, w)  r = Relu (a)  y = Sub (r, b)  z = Mul (r, a) })");
  CHECK(plan->describe_kernels() ==
        "cpu: 1 step, fake: 4 steps; 2 values copied to the device, 3 from it");
  RunContext context(plan);
  const Tensor x = Tensor::from<float>({4}, std::vector<float>{1, -2, 3, -4});
  for (int i = 0; i < 3; ++i) {
    const int64_t before = fake_device_copies();
    std::vector<Tensor> outputs;
    REQUIRE(context.run(std::vector<Tensor>{x}, &outputs).ok());
    CHECK(outputs[0].values<float>() == std::vector<float>{-1, 0, 3, 0});
    CHECK(outputs[1].values<float>() == std::vector<float>{1, 0, 81, 0});
    CHECK(fake_device_copies() - before == 5);
  }
}

TEST_CASE("a subgraph reads the device's values of the graph around it where they lie") {
  const auto plan = device_plan(R"(<ir_version: 8, opset_import: ["" : 17]>
g (float[4] x, bool c) => (float[4] y)
{ a = Neg (x)
  y = If (c) <then_branch = t () => (float[4] u) { u = Mul (a, a) },
              else_branch = e () => (float[4] v) { v = Identity (a) }> })");
  RunContext context(plan);
  const Tensor x = Tensor::from<float>({4}, std::vector<float>{1, 2, 3, 4});
  for (const bool c : {true, false}) {
    const Tensor condition =
        Tensor::from_bytes(DataType::kBool, {}, {static_cast<std::byte>(c ? 1 : 0)});
    const int64_t before = fake_device_copies();
    std::vector<Tensor> outputs;
    REQUIRE(context.run(std::vector<Tensor>{x, condition}, &outputs).ok());
    CHECK(outputs[0].values<float>() ==
          (c ? std::vector<float>{1, 4, 9, 16} : std::vector<float>{-1, -2, -3, -4}));
    CHECK(fake_device_copies() - before <= 3);
  }
}

// The outputs of the first data set; empty where the model cannot be run so.
std::vector<Datum> outputs_of(const fs::path& directory, const PlanOptions& options) {
  const auto model = load_model((directory / "model.onnx").string());
  if (!model.ok() || !infer_graph((*model)->graph()).ok()) return {};
  const auto inputs = load_data(directory / "test_data_set_0", **model);
  const auto plan = Plan::compile((*model)->graph(), options);
  std::vector<Datum> outputs;
  if (!inputs.ok() || !plan.ok() || !RunContext(*plan).run_data(*inputs, &outputs).ok()) return {};
  return outputs;
}

TEST_CASE("onnx's node tests give the same bits in a second memory space") {
  const char* root = std::getenv("ONNXTOOL_NODE_TESTS");
  if (!root) {
    std::cout << "SKIP: ONNXTOOL_NODE_TESTS names no directory of onnx's node tests\n";
    return;
  }
  const char* only = std::getenv("ONNXTOOL_NODE_FILTER");
  PlanOptions on_host;
  on_host.kernel_sets = {&cpu_kernel_set()};
  const int64_t copies = fake_device_copies();
  int compared = 0;
  for (const auto& e : fs::directory_iterator(root)) {
    const std::string name = e.path().filename().string();
    if (only && name.find(only) == std::string::npos) continue;
    const std::vector<Datum> expected = outputs_of(e.path(), on_host),
                             found = outputs_of(e.path(), on_device());
    CHECK_MESSAGE(expected.size() == found.size(), name);
    for (size_t i = 0; i < std::min(expected.size(), found.size()); ++i) {
      const Status s = compare_data(expected[i], found[i], {0, 0});
      CHECK_MESSAGE(s.ok(), name << ": " << (s.ok() ? "" : s.error().message));
    }
    compared += !expected.empty();
  }
  CHECK(compared > 0);
  CHECK(fake_device_copies() > copies);
  CHECK(fake_device_violations() == 0);
  CHECK(fake_device_live() == 0);
}

}  // namespace
}  // namespace onnxtool::testing
