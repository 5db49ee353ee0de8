// Kernels of a device against the host's: on the module that stands in for one (the same functors,
// lanes and launches as loops, over memory that the host cannot touch), and on a GPU where there
// is one.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <map>

#include "calib/exec/modules.h"
#include "calib/exec/plan.h"
#include "calib/kernels/cpu/cpu_kernels.h"
#include "calib/kernels/cuda/divider.h"
#include "calib/kernels/cuda/elements.h"
#include "libopt/analysis/seam.h"
#include "libopt/io/load.h"
#include "libopt/support/half.h"
#include "tests/support/data_set.h"
#include "tests/support/devices.h"

namespace onnxtool::testing {
namespace {

namespace fs = std::filesystem;

// Why a node test needs more than onnx's own tolerance.
Tolerance tolerance_of(const std::string& name) {
  if (name.starts_with("test_bernoulli")) return {0, 1};          // random
  if (name.starts_with("test_dft_inverse")) return {1e-3, 1e-6};  // 0 with noise
  return {};
}

TEST_CASE("device kernels: onnx's node tests") {
  const char* root = std::getenv("ONNXTOOL_NODE_TESTS");
  if (!root) {
    std::cout << "SKIP: ONNXTOOL_NODE_TESTS names no directory of onnx's node tests\n";
    return;
  }
  const char* only = std::getenv("ONNXTOOL_NODE_FILTER");
  for (const KernelSet* set : devices()) {
    int passed = 0;
    for (const auto& e : fs::directory_iterator(root)) {
      const std::string name = e.path().filename().string();
      if (only && name.find(only) == std::string::npos) continue;
      const Status s = run_data_sets(e.path(), {set, &cpu_kernel_set()}, tolerance_of(name));
      // No set decodes images.
      const bool ran = s.ok() || s.error().code != ErrorCode::kUnsupported ||
                       !name.starts_with("test_image_decoder");
      if (!ran) continue;
      CHECK_MESSAGE(s.ok(), set->isa << ": " << name << ": " << (s.ok() ? "" : s.error().message));
      passed += s.ok();
    }
    CHECK(passed > 0);
  }
}

TEST_CASE("device kernels: models of the shared set") {
  const fs::path root = shared_data("models");
  if (root.empty()) return;
  for (const KernelSet* set : devices())
    for (const char* name : {"cifar10_cnn", "blazeface_front", "bert_toy", "ppocr_cls"}) {
      const Status s =
          run_data_sets(root / name, {set, &cpu_kernel_set()}, tolerance_of_model(name));
      CHECK_MESSAGE(s.ok(), set->isa << ": " << name << ": " << (s.ok() ? "" : s.error().message));
    }
}

std::vector<Tensor> run_on(const Model& model, const std::vector<const KernelSet*>& sets,
                           const std::vector<Tensor>& inputs, std::string* kernels = nullptr) {
  PlanOptions options;
  options.kernel_sets = sets;
  const auto plan = Plan::compile(model.graph(), options);
  REQUIRE_MESSAGE(plan.ok(), (plan.ok() ? "" : plan.error().message));
  if (kernels) *kernels = (*plan)->describe_kernels();
  std::vector<Tensor> outputs;
  const Status s = RunContext(*plan).run(inputs, &outputs);
  REQUIRE_MESSAGE(s.ok(), (s.ok() ? "" : s.error().message));
  return outputs;
}

std::unique_ptr<Model> model_of(const std::string& text) {
  auto model = parse_text(text);
  REQUIRE_MESSAGE(model.ok(), (model.ok() ? "" : model.error().message));
  REQUIRE(infer_graph((*model)->graph()).ok());
  return *std::move(model);
}

// Values of both signs and many magnitudes, the same in every run.
Tensor values(std::vector<int64_t> dims) {
  int64_t count = 1;
  for (const int64_t d : dims) count *= d;
  std::vector<float> v(static_cast<size_t>(count));
  uint32_t state = 12345;
  for (float& x : v) {
    state = state * 1664525u + 1013904223u;
    x = (static_cast<float>(state >> 8) / 8388608.0f - 1.0f) *
        std::ldexp(1.0f, static_cast<int>(state >> 4 & 7) - 3);
  }
  return Tensor::from<float>(std::move(dims), v);
}

struct Case {
  const char* what;
  const char* text;
  std::vector<int64_t> dims;
  Tolerance tolerance;
};

TEST_CASE("device kernels: shapes at which the work is partitioned in another way") {
  // Lines longer than the lanes, many short lines, lines whose elements lie apart, grouped and
  // strided windows. Exact: integers, extremes, what only moves.
  const Tolerance rounding{1e-5, 1e-5};
  const Case cases[] = {
      {"long lines", R"(<ir_version: 10, opset_import: ["" : 21]>
g (float[3,1000] x) => (float[3,1000] y) { y = Softmax <axis = -1> (x) })",
       {3, 1000}, rounding},
      {"lines apart", R"(<ir_version: 10, opset_import: ["" : 21]>
g (float[2,100,70] x) => (float[2,100,70] y) { y = LogSoftmax <axis = 1> (x) })",
       {2, 100, 70}, rounding},
      {"many lines apart", R"(<ir_version: 10, opset_import: ["" : 21]>
g (float[40,5000] x) => (float[1,5000] y) <int64[1] a = {0}> { y = ReduceSum (x, a) })",
       {40, 5000}, rounding},
      {"two groups of axes", R"(<ir_version: 10, opset_import: ["" : 21]>
g (float[7,30,11,20] x) => (float[1,30,1,20] y) <int64[2] a = {0, 2}> { y = ReduceMax (x, a) })",
       {7, 30, 11, 20}, {0, 0}},
      {"every axis", R"(<ir_version: 10, opset_import: ["" : 21]>
g (float[31,1009] x) => (float y) { y = ReduceMean <keepdims = 0> (x) })",
       {31, 1009}, rounding},
      {"layer norm", R"(<ir_version: 10, opset_import: ["" : 21]>
g (float[5,768] x) => (float[5,768] y) <float[1] s = {1.5}, float[1] b = {0.25}>
{ y = LayerNormalization (x, s, b) })",
       {5, 768}, rounding},
      {"broadcast in the middle", R"(<ir_version: 10, opset_import: ["" : 21]>
g (float[4,3,5,6] x) => (float[4,3,5,6] y) <int64[2] a = {2, 3}>
{ m = ReduceMean (x, a)  y = Sub (x, m) })",
       {4, 3, 5, 6}, rounding},
      {"permutation of five axes", R"(<ir_version: 10, opset_import: ["" : 21]>
g (float[2,3,4,5,6] x) => (float[5,2,6,4,3] y) { y = Transpose <perm = [3,0,4,2,1]> (x) })",
       {2, 3, 4, 5, 6}, {0, 0}},
      {"strided window with uneven pads", R"(<ir_version: 10, opset_import: ["" : 21]>
g (float[2,4,9,7] x) => (float[2,4,5,4] y)
{ y = MaxPool <kernel_shape = [3,2], strides = [2,2], pads = [1,0,1,1]> (x) })",
       {2, 4, 9, 7}, {0, 0}},
      {"codes", R"(<ir_version: 10, opset_import: ["" : 21]>
g (float[6,50] x) => (float[6,50] y)
<float[6] s = {0.01, 0.02, 0.03, 0.005, 0.1, 1.0}, uint8[6] z = {0, 10, 128, 255, 7, 100}>
{ q = QuantizeLinear <axis = 0> (x, s, z)  y = DequantizeLinear <axis = 0> (q, s, z) })",
       {6, 50}, {0, 0}},
      {"reflected pads", R"(<ir_version: 10, opset_import: ["" : 21]>
g (float[3,5,7] x) => (float[3,10,10] y) <int64[6] p = {0, 2, 3, 0, 3, 0}>
{ y = Pad <mode = "reflect"> (x, p) })",
       {3, 5, 7}, {0, 0}},
      {"nearest positions", R"(<ir_version: 10, opset_import: ["" : 21]>
g (float[2,3,5,7] x) => (y) <float[4] s = {1.0, 1.0, 2.6, 0.5}>
{ y = Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric",
             nearest_mode = "floor"> (x, , s) })",
       {2, 3, 5, 7}, {0, 0}},
      {"weights in two passes, smaller and larger", R"(<ir_version: 10, opset_import: ["" : 21]>
g (float[2,3,9,7] x) => (y) <int64[2] n = {4, 20}>
{ y = Resize <mode = "cubic", antialias = 1, axes = [2,3]> (x, , , n) })",
       {2, 3, 9, 7}, rounding},
      {"weights of half floats", R"(<ir_version: 10, opset_import: ["" : 21]>
g (float[1,2,6,6] x) => (float[1,2,12,12] y) <float[4] s = {1.0, 1.0, 2.0, 2.0}>
{ h = Cast <to = 10> (x)  r = Resize <mode = "linear"> (h, , s)  y = Cast <to = 1> (r) })",
       {1, 2, 6, 6}, {1e-3, 1e-3}},
      {"an axis that stays, and one that is upsampled", R"(<ir_version: 10, opset_import: ["" : 9]>
g (float[1,2,4,3] x) => (y) <float[4] s = {1.0, 1.0, 2.0, 1.0}>
{ y = Upsample <mode = "linear"> (x, s) })",
       {1, 2, 4, 3}, rounding},
      {"a skip that all samples share", R"(<ir_version: 10, opset_import: ["" : 21, "com.microsoft" : 1]>
g (float[2,3,300] x) => (y, mean, inverse, sum) <int64[2] a = {0, 1}, int64[1] first = {0}>
{ g = ReduceMean <keepdims = 0> (x, a)  b = Neg (g)  c = Abs (g)
  k = ReduceMax <keepdims = 0> (x, first)
  y, mean, inverse, sum = com.microsoft.SkipLayerNormalization <epsilon = 0.001> (x, k, g, b, c) })",
       {2, 3, 300}, rounding},
      {"a skip without means, in half floats", R"(<ir_version: 10, opset_import: ["" : 21, "com.microsoft" : 1]>
g (float[2,3,40] x) => (y, sum) <int64[2] a = {0, 1}>
{ h = Cast <to = 10> (x)  g = ReduceMean <keepdims = 0> (h, a)
  y, , , sum = com.microsoft.SkipSimplifiedLayerNormalization (h, h, g) })",
       {2, 3, 40}, {2e-3, 2e-3}},
      {"means of nothing", R"(<ir_version: 10, opset_import: ["" : 21]>
g (float[3,0] x) => (float[3,1] m) <float[1] s = {1.5}> { y, m = LayerNormalization (x, s) })",
       {3, 0}, {0, 0}},
  };
  for (const KernelSet* set : devices())
    for (const Case& c : cases) {
      const auto model = model_of(c.text);
      const std::vector<Tensor> inputs = {values(c.dims)};
      std::string kernels;
      const auto expected = run_on(*model, {&cpu_kernel_set()}, inputs);
      const auto found = run_on(*model, {set, &cpu_kernel_set()}, inputs, &kernels);
      CHECK_MESSAGE(kernels.find("cpu") == std::string::npos, c.what << ": " << kernels);
      const auto again = run_on(*model, {set, &cpu_kernel_set()}, inputs);
      for (size_t i = 0; i < expected.size(); ++i) {
        const Status s = compare_tensors(expected[i], found[i], c.tolerance);
        CHECK_MESSAGE(s.ok(),
                      set->isa << ": " << c.what << ": " << (s.ok() ? "" : s.error().message));
        CHECK(again[i].same_content(found[i]));
      }
    }
}

TEST_CASE("device kernels: convolutions by columns, by the image as it lies, and directly") {
  struct Shape {
    std::vector<int64_t> x, w;
    const char* attributes;
  };
  const Shape shapes[] = {{{2, 8, 9, 10}, {6, 8, 3, 3}, "pads = [1,0,1,2], strides = [2,1]"},
                          {{3, 8, 5, 5}, {4, 8, 1, 1}, ""},
                          {{2, 8, 7, 7}, {8, 1, 3, 3}, "group = 8, pads = [1,1,1,1]"},
                          {{2, 32, 7, 7}, {16, 16, 3, 3}, "group = 2, dilations = [2,1]"},
                          {{2, 6, 31}, {5, 6, 4}, "strides = [3]"}};
  for (const KernelSet* set : devices())
    for (const Shape& shape : shapes) {
      const auto text_of = [](const std::vector<int64_t>& dims) {
        std::string s;
        for (const int64_t d : dims) s += (s.empty() ? "" : ",") + std::to_string(d);
        return "float[" + s + "]";
      };
      const std::string attributes =
          *shape.attributes ? std::string("<") + shape.attributes + ">" : "";
      const auto model = model_of("<ir_version: 10, opset_import: [\"\" : 21]>\ng (" +
                                  text_of(shape.x) + " x, " + text_of(shape.w) + " w, float[" +
                                  std::to_string(shape.w[0]) + "] b) => (y) { y = Conv " +
                                  attributes + " (x, w, b) }");
      const std::vector<Tensor> inputs = {values(shape.x), values(shape.w), values({shape.w[0]})};
      const auto expected = run_on(*model, {&cpu_kernel_set()}, inputs);
      const auto found = run_on(*model, {set, &cpu_kernel_set()}, inputs);
      const Status s = compare_tensors(expected[0], found[0], {1e-4, 1e-4});
      CHECK_MESSAGE(s.ok(), set->isa << ": " << attributes << ": "
                                     << (s.ok() ? "" : s.error().message));
    }
}

TEST_CASE("device kernels: integer products and convolutions equal the host's") {
  const char* const texts[] = {
      R"(<ir_version: 10, opset_import: ["" : 21]>
g (float[2,6,9,7] x, float[8,3,3,3] w, float[8] b) => (uint8[2,8,5,7] y)
<float xs = {0.031}, uint8 xz = {117}, float[8] ws = {0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08},
 int8[8] wz = {0, 1, -2, 3, 0, -5, 6, 0}, float ys = {0.21}, uint8 yz = {99}, float bs = {0.001}>
{ q = QuantizeLinear (x, xs, xz)  v = QuantizeLinear <axis = 0> (w, ws, wz)
  s = Div (b, bs)  i = Cast <to = 6> (s)
  y = QLinearConv <group = 2, strides = [2,1], pads = [1,1,1,1]> (q, xs, xz, v, ws, wz, ys, yz, i) })",
      R"(<ir_version: 10, opset_import: ["" : 21]>
g (float[2,3,9,7] x, float[4,3,3,3] w, float[1] b) => (int32[2,4,7,5] y)
<float xs = {0.031}, uint8 xz = {117}, float ws = {0.02}, uint8[4] wz = {128, 100, 7, 255}, uint8 one = {128}>
{ q = QuantizeLinear (x, xs, xz)  v = QuantizeLinear (w, ws, one)  y = ConvInteger (q, v, xz, wz) })",
      R"(<ir_version: 10, opset_import: ["" : 21]>
g (float[3,5,40] x, float[40,6] w, float[1] b) => (uint8[3,5,6] y)
<float xs = {0.031}, uint8 xz = {117}, float[6] ws = {0.01, 0.02, 0.03, 0.04, 0.05, 0.06},
 int8[6] wz = {0, 1, -2, 3, 0, -5}, float ys = {0.4}, uint8 yz = {12}>
{ q = QuantizeLinear (x, xs, xz)  v = QuantizeLinear <axis = 1> (w, ws, wz)
  y = QLinearMatMul (q, xs, xz, v, ws, wz, ys, yz) })",
      R"(<ir_version: 10, opset_import: ["" : 21]>
g (float[2,5,40] x, float[2,40,6] w, float[1] b) => (int32[2,5,6] y)
<float xs = {0.031}, uint8 xz = {117}, float ws = {0.01}, int8 wz = {-3}>
{ q = QuantizeLinear (x, xs, xz)  v = QuantizeLinear (w, ws, wz)  y = MatMulInteger (q, v, xz, wz) })"};
  for (const KernelSet* set : devices())
    for (const char* text : texts) {
      const auto model = model_of(text);
      std::vector<Tensor> inputs;
      for (const Value* v : model->graph().inputs())
        if (!v->initializer()) inputs.push_back(values(*v->type().static_dims()));
      std::string kernels;
      const auto expected = run_on(*model, {&cpu_kernel_set()}, inputs);
      const auto found = run_on(*model, {set, &cpu_kernel_set()}, inputs, &kernels);
      CHECK_MESSAGE(kernels.find("cpu") == std::string::npos, kernels);
      CHECK_MESSAGE(expected[0].same_content(found[0]), set->isa << ": " << text);
    }
}

TEST_CASE("device kernels: what follows a product or convolution is computed with its sums") {
  struct Fused {
    const char* what;
    const char* text;
    std::vector<std::vector<int64_t>> inputs;
    const char* steps;  // on the device
  };
  const Fused cases[] = {
      {"an activation and a residual behind columns", R"(<ir_version: 10, opset_import: ["" : 21]>
g (float[3,4,6,5] x, float[3,6,6,5] r, float[6,4,3,3] w, float[6] b) => (y)
{ c = Conv <pads = [1,1,1,1]> (x, w, b)  a = Add (c, r)  y = Relu (a) })",
       {{3, 4, 6, 5}, {3, 6, 6, 5}, {6, 4, 3, 3}, {6}}, "cuda: 1 step;"},
      {"behind images as they lie", R"(<ir_version: 10, opset_import: ["" : 21]>
g (float[2,4,20,20] x, float[6,4,1,1] w) => (y)
{ c = Conv (x, w)  y = LeakyRelu <alpha = 0.2> (c) })",
       {{2, 4, 20, 20}, {6, 4, 1, 1}}, "cuda: 1 step;"},
      {"behind groups of few channels", R"(<ir_version: 10, opset_import: ["" : 21]>
g (float[2,4,7,7] x, float[4,1,3,3] w) => (y)
{ c = Conv <group = 4> (x, w)  s = Sigmoid (c)  y = Mul (c, s) })",
       {{2, 4, 7, 7}, {4, 1, 3, 3}}, "cuda: 1 step;"},
      {"more than go into one launch", R"(<ir_version: 10, opset_import: ["" : 21]>
g (float[5,8] x, float[8,6] w, float[5,6] r) => (y)
{ m = MatMul (x, w)  a = Add (m, r)  b = Tanh (a)  c = Add (b, r)  d = Relu (c)  e = Add (d, r)
  f = HardSigmoid (e)  g = Add (f, r)  h = HardSwish (g)  i = Add (h, r)  y = Sigmoid (i) })",
       {{5, 8}, {8, 6}, {5, 6}}, "cuda: 1 step;"},
      {"Gemm with a bias", R"(<ir_version: 10, opset_import: ["" : 21]>
g (float[5,8] x, float[6,8] w, float[6] b) => (y) <float lo = {-0.5}, float hi = {0.75}>
{ m = Gemm <transB = 1, beta = 0.5> (x, w, b)  y = Clip (m, lo, hi) })",
       {{5, 8}, {6, 8}, {6}}, "cuda: 1 step;"},
  };
  for (const KernelSet* set : devices())
    for (const Fused& c : cases) {
      const auto model = model_of(c.text);
      std::vector<Tensor> inputs;
      for (const auto& dims : c.inputs) inputs.push_back(values(dims));
      std::string kernels;
      const auto expected = run_on(*model, {&cpu_kernel_set()}, inputs);
      const auto found = run_on(*model, {set, &cpu_kernel_set()}, inputs, &kernels);
      CHECK_MESSAGE(kernels.starts_with(c.steps), c.what << ": " << kernels);
      const Status s = compare_tensors(expected[0], found[0], {1e-5, 1e-5});
      CHECK_MESSAGE(s.ok(),
                    set->isa << ": " << c.what << ": " << (s.ok() ? "" : s.error().message));
    }
}

TEST_CASE("device kernels: products of fewer bits round their operands, and nothing else") {
  const struct {
    const char* text;
    std::vector<std::vector<int64_t>> inputs;
  } cases[] = {
      {R"(<ir_version: 10, opset_import: ["" : 21]>
g (float[3,5,40] x, float[40,6] w) => (y) { y = MatMul (x, w) })",
       {{3, 5, 40}, {40, 6}}},
      {R"(<ir_version: 10, opset_import: ["" : 21]>
g (float[5,40] x, float[6,40] w) => (y) { y = Gemm <transB = 1, alpha = 0.5> (x, w) })",
       {{5, 40}, {6, 40}}},
      {R"(<ir_version: 10, opset_import: ["" : 21]>
g (float[2,8,9,10] x, float[6,4,3,3] w) => (y) { y = Conv <group = 2, pads = [1,1,1,1]> (x, w) })",
       {{2, 8, 9, 10}, {6, 4, 3, 3}}},
      {R"(<ir_version: 10, opset_import: ["" : 21]>
g (float[2,8,20,20] x, float[6,8,1,1] w) => (y) { y = Conv (x, w) })",
       {{2, 8, 20, 20}, {6, 8, 1, 1}}},
  };
  const auto rounded = [](const Tensor& t, const std::string& precision) {
    std::vector<float> v = t.values<float>();
    for (float& x : v)
      x = x == 0                ? x
          : precision == "bf16" ? static_cast<float>(Bfloat16(x))
          : precision == "fp16" ? static_cast<float>(Half(x))
                                : std::ldexp(std::nearbyint(std::ldexp(x, 10 - std::ilogb(x))),
                                             std::ilogb(x) - 10);
    return Tensor::from<float>(t.dims(), v);
  };
  for (const KernelSet* set : devices())
    for (const std::string precision : {"tf32", "bf16", "fp16"}) {
      const auto reduced = load_reduced_kernels(
          set->isa == "host" ? "onnxtool-device-on-host.so" : "onnxtool-cuda.so", precision);
      REQUIRE_MESSAGE(reduced.ok(), (reduced.ok() ? "" : reduced.error().message));
      for (const auto& c : cases) {
        const auto model = model_of(c.text);
        std::vector<Tensor> inputs, few_bits;
        for (const auto& dims : c.inputs) {
          inputs.push_back(values(dims));
          few_bits.push_back(rounded(inputs.back(), precision));
        }
        std::string kernels;
        const auto found =
            run_on(*model, {*reduced, set, &cpu_kernel_set()}, inputs, &kernels);
        CHECK_MESSAGE(kernels.starts_with("cuda-" + precision + ": 1 step;"), kernels);
        const auto of_rounded = run_on(*model, {&cpu_kernel_set()}, few_bits);
        const auto exact = run_on(*model, {&cpu_kernel_set()}, inputs);
        // How a GPU rounds to TF32 is its own affair: within one unit instead of a half.
        const bool own_rounding = precision == "tf32" && set->isa != "host";
        const Status s = compare_tensors(of_rounded[0], found[0],
                                         own_rounding ? Tolerance{2e-2, 2e-2} : Tolerance{1e-5, 1e-5});
        CHECK_MESSAGE(s.ok(), set->isa << ": " << precision << ": " << std::string(c.text) << ": "
                                       << (s.ok() ? "" : s.error().message));
        CHECK(!compare_tensors(exact[0], found[0], {1e-6, 1e-6}).ok());
      }
    }
}

TEST_CASE("device kernels: attention in parts is one step, in float32 and with fewer bits") {
  // One key's probability is 1 whatever its score: what is left is the rounding of the values.
  for (const int64_t keys : {1, 50}) {
    const std::string n = std::to_string(keys);
    const auto model = model_of(R"(<ir_version: 10, opset_import: ["" : 21]>
g (float[2,7,3,8] q, float[2,)" + n + R"(,3,8] k, float[2,3,)" + n + R"(,6] v, float[2,1,7,)" + n +
                                R"(] m) => (y) <float s = {0.01}>
{ qt = Transpose <perm = [0,2,1,3]> (q)  kt = Transpose <perm = [0,2,3,1]> (k)
  p = MatMul (qt, kt)  c = Mul (p, s)  a = Add (c, m)  w = Softmax <axis = -1> (a)
  o = MatMul (w, v)  y = Transpose <perm = [0,2,1,3]> (o) })");
    const std::vector<Tensor> inputs = {values({2, 7, 3, 8}), values({2, keys, 3, 8}),
                                        values({2, 3, keys, 6}), values({2, 1, 7, keys})};
    const auto expected = run_on(*model, {&cpu_kernel_set()}, inputs);
    for (const KernelSet* set : devices()) {
      std::string kernels;
      const auto found = run_on(*model, {set, &cpu_kernel_set()}, inputs, &kernels);
      CHECK_MESSAGE(kernels.starts_with("cuda: 1 step;"), kernels);
      const Status s = compare_tensors(expected[0], found[0], {1e-5, 1e-5});
      CHECK_MESSAGE(s.ok(), (s.ok() ? "" : s.error().message));
      const auto reduced = load_reduced_kernels(
          set->isa == "host" ? "onnxtool-device-on-host.so" : "onnxtool-cuda.so", "bf16");
      REQUIRE(reduced.ok());
      const auto few = run_on(*model, {*reduced, set, &cpu_kernel_set()}, inputs, &kernels);
      CHECK_MESSAGE(kernels.starts_with("cuda-bf16: 1 step;"), kernels);
      if (keys == 1) {
        const auto exact = expected[0].values<float>(), narrow = few[0].values<float>();
        for (size_t i = 0; i < exact.size(); ++i)
          CHECK(narrow[i] == static_cast<float>(Bfloat16(exact[i])));
      } else {
        CHECK(compare_tensors(expected[0], few[0], {3e-2, 3e-2}).ok());
        CHECK(!compare_tensors(expected[0], few[0], {1e-5, 1e-5}).ok());
      }
    }
  }
}

TEST_CASE("device kernels: division by multiplication is exact") {
  uint32_t state = 99;
  const auto next = [&] { return state = state * 1664525u + 1013904223u; };
  std::vector<int64_t> by = {1, 2, 3, 5, 7, 9, 49, 147, 255, 256, 257, 641, 50176, 65537,
                             (1 << 30) - 1, 1 << 30, (1 << 30) + 1, INT32_MAX - 1, INT32_MAX,
                             int64_t{INT32_MAX} + 1, int64_t{1} << 40};
  for (int i = 0; i < 3000; ++i) by.push_back((next() >> (next() % 31 + 1)) + 1);
  for (const int64_t d : by) {
    const device::Divider divider(d);
    std::vector<int64_t> numbers = {0, 1, d - 1, d, d + 1, 2 * d - 1, INT32_MAX - 1, INT32_MAX,
                                    int64_t{INT32_MAX} + 1, int64_t{1} << 45,
                                    INT32_MAX / d * d, INT32_MAX / d * d - 1};
    for (int i = 0; i < 200; ++i) numbers.push_back(next() >> 1);
    for (int64_t n : numbers) {
      if (n < 0) continue;
      if (divider.quotient(n) != n / d || divider.remainder(n) != n % d) FAIL(n << " / " << d);
    }
  }
}

TEST_CASE("device kernels: half types convert as the host's do, bit for bit") {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto b = static_cast<uint16_t>(bits);
    Half h;
    h.bits = b;
    Bfloat16 f;
    f.bits = b;
    CHECK(std::bit_cast<uint32_t>(device::half_to_float(b)) ==
          std::bit_cast<uint32_t>(static_cast<float>(h)));
    CHECK(std::bit_cast<uint32_t>(device::bfloat16_to_float(b)) ==
          std::bit_cast<uint32_t>(static_cast<float>(f)));
  }
  for (uint64_t bits = 0; bits <= UINT32_MAX; bits += 4093) {
    const float x = std::bit_cast<float>(static_cast<uint32_t>(bits));
    if (device::float_to_half(x) != Half(x).bits ||
        device::float_to_bfloat16(x) != Bfloat16(x).bits)
      FAIL(bits);
  }
}

}  // namespace
}  // namespace onnxtool::testing
