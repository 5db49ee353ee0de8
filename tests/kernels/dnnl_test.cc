// Products, pooling and whole models on oneDNN.
#include <atomic>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "tests/kernels/dnnl_net.h"
#include "tests/support/data_set.h"

namespace onnxtool::testing {
using namespace dnnl_nets;

TEST_CASE("dnnl: products with constant matrices") {
  if (!dnnl_kernel_set()) return;
  for (const Dims& a : {Dims{1, 300}, Dims{7, 300}, Dims{2, 65, 300}, Dims{300}}) {
    INFO("left side " << format_dims(a));
    Net net(13);
    net.output(net.node("Relu", {&net.node("MatMul", {&net.input(a), &net.constant({300, 170})})}));
    check_against_cpu(net, 300);
  }
  for (const bool transposed : {false, true}) {
    CAPTURE(transposed);
    Net net(17);
    Value& b = net.constant(transposed ? Dims{130, 200} : Dims{200, 130});
    net.output(net.node("Gemm", {&net.input({96, 200}), &b, &net.constant({130})},
                        {{"transB", int64_t{transposed}}, {"alpha", 0.7f}, {"beta", 1.5f}}));
    check_against_cpu(net, 200);
  }
}

TEST_CASE("dnnl: products of computed matrices, batches broadcast") {
  if (!dnnl_kernel_set()) return;
  const std::vector<std::pair<Dims, Dims>> cases = {{{12, 65, 64}, {12, 64, 65}},
                                                    {{2, 6, 50, 32}, {2, 6, 32, 70}},
                                                    {{300, 200}, {200, 90}},
                                                    {{5, 33, 40}, {40, 20}},
                                                    {{40, 33}, {7, 33, 20}},
                                                    {{3, 1, 20, 30}, {1, 4, 30, 10}},
                                                    {{64}, {64, 10}},
                                                    {{4, 9, 64}, {64}},
                                                    {{64}, {64}},
                                                    {{2, 3, 0}, {2, 0, 4}},
                                                    {{0, 3, 5}, {5, 4}}};
  for (const auto& [a, b] : cases) {
    INFO(format_dims(a) << " times " << format_dims(b));
    Net net(37);
    net.output(net.node("MatMul", {&net.input(a), &net.input(b)}));
    check_against_cpu(net, std::max<int64_t>(a.back(), 1));
  }
}

TEST_CASE("dnnl: float16 is pooled and concatenated to the bits of the cpu kernels") {
  const KernelSet* dnnl = dnnl_kernel_set();
  if (!dnnl) return;
  const std::vector<std::pair<const char*, std::vector<Given>>> cases = {
      {"MaxPool", {{"kernel_shape", Dims{3, 3}}, {"strides", Dims{2, 2}}}},
      {"AveragePool", {{"kernel_shape", Dims{2, 3}}, {"pads", Dims{1, 1, 0, 1}}}},
      {"GlobalAveragePool", {}},
      {"Concat", {{"axis", int64_t{1}}}}};
  for (const auto& [op, attributes] : cases) {
    CAPTURE(op);
    Net net(41);
    Value& x = net.node("Cast", {&net.input({2, 21, 11, 9})}, {{"to", int64_t{10}}});
    std::vector<Value*> from{&x};
    if (std::string_view(op) == "Concat") from.push_back(&net.node("Relu", {&x}));
    net.output(net.node("Cast", {&net.node(op, from, attributes)}, {{"to", int64_t{1}}}));
    const Ran expected = run(net, {&cpu_kernel_set()}, 1);
    for (const int threads : {1, 3}) {
      const Ran found = run(net, {dnnl, &cpu_kernel_set()}, threads);
      CHECK(found.kernels.find("dnnl: 1 step") != std::string::npos);
      CHECK(same_bits(found.outputs[0], expected.outputs[0]));
    }
  }
}

TEST_CASE("dnnl: instances are normalized in the layout that they have, Relu included") {
  if (!dnnl_kernel_set()) return;
  for (const int64_t channels : {5, 16, 40})
    for (const bool after_conv : {false, true}) {
      CAPTURE(channels);
      Net net(61);
      const ConvCase conv{.x = {2, 16, 19, 21}, .w = {channels, 16, 3, 3}};
      Value& x =
          after_conv ? add_conv(net, net.input(conv.x), conv) : net.input({2, channels, 19, 21});
      Value& y = net.node("InstanceNormalization",
                          {&x, &net.constant({channels}), &net.constant({channels})});
      net.output(net.node("Relu", {&y}));
      check_against_cpu(net, after_conv ? terms_of(conv.w) : 1);
      CHECK(run(net, {dnnl_kernel_set(), &cpu_kernel_set()}, 1).kernels.find("cpu") ==
            std::string::npos);
    }
}

TEST_CASE("dnnl: pooling keeps infinities and NaN") {
  if (!dnnl_kernel_set()) return;
  Net net(23);
  Value& x = net.input({1, 2, 4, 4});
  std::vector<float> values = net.inputs[0].values<float>();
  for (size_t i = 0; i < 16; ++i) values[i] = -std::numeric_limits<float>::infinity();
  values[21] = std::numeric_limits<float>::quiet_NaN();
  net.inputs[0] = Tensor::from<float>({1, 2, 4, 4}, values);
  net.output(net.node("MaxPool", {&x}, {{"kernel_shape", Dims{2, 2}}, {"strides", Dims{2, 2}}}));
  const Ran ran = run(net, {dnnl_kernel_set(), &cpu_kernel_set()}, 1);
  CHECK(ran.kernels == "dnnl: 1 step");
  const auto y = ran.outputs[0].values<float>();
  CHECK(std::isinf(y[0]));
  CHECK(y[0] < 0);
  CHECK(std::isnan(y[4]));
}

TEST_CASE("dnnl: one plan serves many shapes and threads at a time") {
  const KernelSet* dnnl = dnnl_kernel_set();
  if (!dnnl) return;
  Net net(29);
  Value& x = net.input({1, 24, 12, 12});
  x.set_type(
      ValueType::tensor(DataType::kFloat, std::vector<Dim>{Dim::of(1), Dim::of(24), Dim(), Dim()}));
  net.output(add_conv(net, x, {.x = {}, .w = {32, 24, 3, 3}, .pads = {1, 1, 1, 1}}));
  REQUIRE(infer_graph(net.graph()).ok());
  const auto plan = Plan::compile(net.graph(), options_of({dnnl, &cpu_kernel_set()}, 1));
  const auto reference = Plan::compile(net.graph(), options_of({&cpu_kernel_set()}, 1));
  REQUIRE(plan.ok());
  REQUIRE(reference.ok());
  std::vector<std::thread> threads;
  std::atomic<int> bad = 0;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      RunContext context(*plan), expected(*reference);
      for (int64_t size = 3; size < 90; size += 5) {
        const int64_t h = size + (size * t) % 3;
        const Tensor in = Tensor::from<float>(
            {1, 24, h, size}, std::vector<float>(static_cast<size_t>(24 * h * size), 0.5f));
        std::vector<Tensor> a, b;
        if (!context.run(std::span(&in, 1), &a).ok() || !expected.run(std::span(&in, 1), &b).ok() ||
            difference(a[0], b[0], 16) > 5e-6)
          ++bad;
      }
    });
  for (std::thread& t : threads) t.join();
  CHECK(bad == 0);
}

// Three rows are cut by columns on several threads, three hundred by rows: the weights that the
// latter want are put together from the former's pieces.
TEST_CASE("dnnl: models of the shared set that run on the cpu kernels run on these") {
  const KernelSet* dnnl = dnnl_kernel_set();
  if (!dnnl) return;
  const std::filesystem::path root = shared_data("models");
  if (root.empty()) return;
  int passed = 0;
  for (const auto& entry : std::filesystem::directory_iterator(root)) {
    if (!std::filesystem::exists(entry.path() / "model.onnx") ||
        !std::filesystem::exists(entry.path() / "test_data_set_0"))
      continue;
    const std::string name = entry.path().filename().string();
    // Half precision is computed in other places than the reference rounds.
    const Tolerance tolerance =
        name.ends_with("fp16") ? Tolerance{2e-2, 2e-2} : Tolerance{1e-3, 1e-4};
    if (!run_data_sets(entry.path(), {&cpu_kernel_set()}, tolerance).ok()) continue;
    for (int threads : {1, 2}) {
      const Status s = run_data_sets(entry.path(), {dnnl, &cpu_kernel_set()}, tolerance, threads);
      CHECK_MESSAGE(s.ok(), name << ": " << (s.ok() ? "" : s.error().message));
      passed += s.ok();
    }
  }
  CHECK(passed > 40);
}

TEST_CASE("dnnl: onnx's node tests of the operators that the module serves") {
  const KernelSet* dnnl = dnnl_kernel_set();
  if (!dnnl) return;
  const char* root = std::getenv("ONNXTOOL_NODE_TESTS");
  if (!root) {
    std::cout << "SKIP: ONNXTOOL_NODE_TESTS names no directory of onnx's node tests\n";
    return;
  }
  int passed = 0;
  for (const auto& entry : std::filesystem::directory_iterator(root)) {
    const std::string name = entry.path().filename().string();
    const bool ours =
        std::any_of(dnnl->kernels.begin(), dnnl->kernels.end(), [&](const KernelInfo* k) {
          std::string op = "test_" + std::string(k->op);
          std::transform(op.begin(), op.end(), op.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
          return name.starts_with(op) || name.starts_with("test_basic_conv") ||
                 name.starts_with("test_batchnorm");
        });
    if (!ours || !std::filesystem::exists(entry.path() / "model.onnx")) continue;
    const Status s = run_data_sets(entry.path(), {dnnl, &cpu_kernel_set()}, {});
    CHECK_MESSAGE(s.ok(), name << ": " << (s.ok() ? "" : s.error().message));
    passed += s.ok();
  }
  CHECK(passed > 40);
}

}  // namespace onnxtool::testing
