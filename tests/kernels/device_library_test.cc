// Convolutions and pools by a library on the device (cuda/dnn.h): which are given to it, and that
// it is told of them as it takes them. The stand-in's library derives its output's extents as cuDNN
// does and fails where these are not the operator's. On a GPU all of this is cuDNN's, where that is
// there, and the other device tests compare it with the host.
#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <iostream>

#include "calib/exec/modules.h"
#include "calib/kernels/cuda/dnn.h"
#include "libopt/support/half.h"
#include "tests/kernels/device_node.h"

namespace onnxtool::testing {
namespace {

/// The stand-in, with a library for as long as this lives.
class DeviceWithLibrary {
 public:
  DeviceWithLibrary() {
    const auto set = load_device_module(kStandIn, 1);
    REQUIRE_MESSAGE(set.ok(), (set.ok() ? "" : set.error().message));
    set_ = *set;
    calls();
  }
  ~DeviceWithLibrary() { (void)load_device_module(kStandIn, 0); }
  const KernelSet* set() const { return set_; }
  /// What it did since the last call.
  int calls() const { return stand_in_count("onnxtool_library_calls"); }

 private:
  const KernelSet* set_;
};

std::vector<Tensor> run_library_model(const std::string& text,
                                      const std::vector<const KernelSet*>& sets,
                                      const std::vector<Tensor>& inputs) {
  auto model = parse_text(text);
  REQUIRE_MESSAGE(model.ok(), (model.ok() ? "" : model.error().message));
  REQUIRE(infer_graph((*model)->graph()).ok());
  PlanOptions options;
  options.kernel_sets = sets;
  const auto plan = Plan::compile((*model)->graph(), options);
  REQUIRE_MESSAGE(plan.ok(), (plan.ok() ? "" : plan.error().message));
  std::vector<Tensor> found;
  const Status s = RunContext(*plan).run(inputs, &found);
  REQUIRE_MESSAGE(s.ok(), text << ": " << (s.ok() ? "" : s.error().message));
  return found;
}

std::string float_type(const std::vector<int64_t>& dims) {
  std::string s;
  for (const int64_t d : dims) s += (s.empty() ? "" : ",") + std::to_string(d);
  return "float[" + s + "]";
}

TEST_CASE("device library: windows that equal paddings make are asked for, others are not") {
  const auto resolved = [](WindowAttributes a, std::vector<int64_t> dims) {
    const auto w = resolve_window(a, dims, a.kernel);
    REQUIRE(w.ok());
    return *w;
  };
  using A = WindowAttributes;
  const struct {
    const char* what;
    A attributes;
    std::vector<int64_t> dims;
    bool taken, pool_taken, counting_taken;
  } cases[] = {
      {"equal pads", A{{3, 3}, {}, {}, {1, 1, 1, 1}}, {1, 4, 9, 8}, true, true, true},
      {"the pad behind is never seen",
       A{{3, 3}, {2, 2}, {}, {1, 1, 0, 0}},
       {1, 4, 8, 8},
       true,
       true,
       true},
      {"more behind than before",
       A{{3, 3}, {}, {}, {0, 0, 1, 1}},
       {1, 4, 8, 8},
       false,
       false,
       false},
      {"SAME_UPPER of an even window",
       A{{2, 2}, {}, {}, {}, AutoPad::kSameUpper},
       {1, 4, 8, 8},
       false,
       false,
       false},
      {"SAME_LOWER of a strided one",
       A{{3, 3}, {2, 2}, {}, {}, AutoPad::kSameLower},
       {1, 4, 8, 8},
       true,
       true,
       true},
      {"rounded up",
       A{{2, 2}, {2, 2}, {}, {}, AutoPad::kNotSet, true},
       {1, 4, 7, 7},
       false,
       false,
       false},
      {"rounded up to what fits",
       A{{2, 2}, {2, 2}, {}, {}, AutoPad::kNotSet, true},
       {1, 4, 8, 8},
       true,
       true,
       true},
      // Positions are those of pads [1, 1], but the last window passes the only pad there is.
      {"rounded up past the pads",
       A{{3}, {2}, {}, {1, 0}, AutoPad::kNotSet, true},
       {1, 4, 7},
       true,
       true,
       false},
      {"pads below 0", A{{3}, {}, {}, {-1, -1}}, {1, 4, 9}, false, false, false},
      {"as much padding as window", A{{2}, {}, {}, {2, 2}}, {1, 4, 9}, true, false, false},
      {"dilated", A{{3}, {}, {2}, {2, 2}}, {1, 4, 9}, true, false, false},
      {"three axes", A{{3, 3, 3}, {}, {}, {1, 1, 1, 1, 1, 1}}, {1, 4, 5, 9, 8}, true, true, true},
      {"no output", A{{1}, {}, {}, {}}, {1, 4, 0}, false, false, false},
  };
  for (const auto& c : cases) {
    const Window w = resolved(c.attributes, c.dims);
    const auto taken = device::dnn_window(w);
    CHECK_MESSAGE(taken.has_value() == c.taken, c.what);
    CHECK_MESSAGE(device::dnn_pool_window(w, false).has_value() == c.pool_taken, c.what);
    CHECK_MESSAGE(device::dnn_pool_window(w, true).has_value() == c.counting_taken, c.what);
    if (!taken) continue;
    CHECK(taken->axes == (w.rank == 3 ? 3 : 2));
    for (int a = 0; a < taken->axes; ++a)
      CHECK(taken->out[a] == w.out[static_cast<size_t>(kSpatial - taken->axes + a)]);
  }
}

TEST_CASE("device library: convolutions in one call, with a last step, and without the library") {
  const struct {
    const char* what;
    std::vector<int64_t> x, w;
    const char* attributes;
    const char* behind;  // of c, which has the residual r
    int calls;
  } cases[] = {
      {"sums and a bias", {2, 6, 9, 8}, {4, 6, 3, 3}, "pads = [1,1,1,1]", "y = Identity (c)", 1},
      {"Relu", {2, 6, 9, 8}, {4, 6, 3, 3}, "strides = [2,1]", "y = Relu (c)", 1},
      {"a residual and Relu", {2, 6, 5, 5}, {4, 6, 1, 1}, "", "a = Add (c, r)  y = Relu (a)", 1},
      {"more behind the call",
       {2, 6, 5, 5},
       {4, 6, 3, 3},
       "pads = [1,1,1,1]",
       "a = Add (c, r)  d = Relu (a)  e = Tanh (d)  y = Add (e, r)",
       1},
      {"another activation",
       {2, 6, 5, 5},
       {4, 6, 3, 3},
       "dilations = [2,2]",
       "s = Sigmoid (c)  y = Mul (c, s)",
       1},
      {"depthwise, which this library takes without Relu",
       {2, 6, 7, 7},
       {6, 1, 3, 3},
       "group = 6, pads = [1,1,1,1]",
       "y = Relu (c)",
       1},
      {"groups", {2, 6, 7, 7}, {4, 3, 3, 2}, "group = 2", "y = Identity (c)", 1},
      {"one axis", {2, 6, 31}, {4, 6, 4}, "strides = [3], pads = [2,2]", "y = Relu (c)", 1},
      {"three axes", {1, 3, 5, 6, 7}, {4, 3, 2, 3, 3}, "pads = [0,1,1,0,1,1]", "y = Relu (c)", 1},
      {"other pads behind than before",
       {2, 6, 9, 8},
       {4, 6, 3, 3},
       "pads = [1,0,1,2]",
       "y = Relu (c)",
       0},
  };
  const DeviceWithLibrary device;
  for (const auto& c : cases) {
    DeviceDraws draws;
    const std::string attributes = *c.attributes ? std::string("<") + c.attributes + ">" : "";
    const std::string conv = "c = Conv " + attributes + " (x, w, b)";
    const auto text = [&](const std::string& behind, const std::string& more) {
      return "<ir_version: 10, opset_import: [\"\" : 21]>\ng (" + float_type(c.x) + " x, " +
             float_type(c.w) + " w, " + float_type({c.w[0]}) + " b" + more + ") => (y) { " +
             behind + " }";
    };
    std::vector<Tensor> inputs = {draws.floats(c.x), draws.floats(c.w), draws.floats({c.w[0]})};
    // The residual has the convolution's own shape.
    const auto plain =
        run_library_model(text(conv + " y = Identity (c)", ""), {&cpu_kernel_set()}, inputs);
    std::string more;
    if (std::string(c.behind).find(", r)") != std::string::npos) {
      inputs.push_back(draws.floats(plain[0].dims()));
      more = ", " + float_type(plain[0].dims()) + " r";
    }
    const std::string whole = text(conv + " " + c.behind, more);
    const auto expected = run_library_model(whole, {&cpu_kernel_set()}, inputs);
    device.calls();
    const auto found = run_library_model(whole, {device.set(), &cpu_kernel_set()}, inputs);
    CHECK_MESSAGE(device.calls() == c.calls, c.what);
    const Status s = compare_tensors(expected[0], found[0], {1e-5, 1e-5});
    CHECK_MESSAGE(s.ok(), c.what << ": " << (s.ok() ? "" : s.error().message));
  }
}

TEST_CASE("device library: convolutions of 16 bits are rounded once, in the call or without it") {
  const struct {
    const char* what;
    const char* node;
    int calls;
  } cases[] = {
      {"sums", "y = Conv (x, w)", 1},
      {"a bias", "y = Conv (x, w, b)", 1},
      {"an activation of the operator",
       "y = com.microsoft.FusedConv <activation = \"Relu\"> (x, w, b)", 1},
      {"one that no call does", "y = com.microsoft.FusedConv <activation = \"Tanh\"> (x, w, b)", 0},
  };
  const DeviceWithLibrary device;
  DeviceDraws draws;
  const std::vector<Tensor> inputs = {draws.floats({2, 5, 6, 7}), draws.floats({4, 5, 3, 3}),
                                      draws.floats({4})};
  for (const auto& c : cases) {
    const std::string text =
        R"(<ir_version: 10, opset_import: ["" : 21, "com.microsoft" : 1]>
g (float[2,5,6,7] x32, float[4,5,3,3] w32, float[4] b32) => (y)
{ x = Cast <to = 10> (x32)  w = Cast <to = 10> (w32)  b = Cast <to = 10> (b32)  )" +
        std::string(c.node) + " }";
    const auto expected = run_library_model(text, {&cpu_kernel_set()}, inputs);
    device.calls();
    const auto found = run_library_model(text, {device.set(), &cpu_kernel_set()}, inputs);
    CHECK_MESSAGE(device.calls() == c.calls, c.what);
    const Status s = compare_tensors(expected[0], found[0], {1e-3, 1e-3});
    CHECK_MESSAGE(s.ok(), c.what << ": " << (s.ok() ? "" : s.error().message));
  }
}

TEST_CASE("device library: convolutions of fewer bits round their operands, and nothing else") {
  const DeviceWithLibrary device;
  DeviceDraws draws;
  const std::string text = R"(<ir_version: 10, opset_import: ["" : 21]>
g (float[2,8,9,10] x, float[6,8,3,3] w, float[6] b) => (y)
{ c = Conv <pads = [1,1,1,1]> (x, w, b)  y = Relu (c) })";
  const Tensor x = draws.floats({2, 8, 9, 10}), w = draws.floats({6, 8, 3, 3}),
               b = draws.floats({6});
  for (const std::string precision : {"tf32", "bf16", "fp16"}) {
    const auto reduced = load_reduced_kernels(kStandIn, precision);
    REQUIRE(reduced.ok());
    const auto rounded = [&](const Tensor& t) {
      std::vector<float> v = t.values<float>();
      for (float& e : v)
        e = precision == "bf16"   ? static_cast<float>(Bfloat16(e))
            : precision == "fp16" ? static_cast<float>(Half(e))
                                  : device::round_to_tf32(e);
      return Tensor::from<float>(t.dims(), v);
    };
    device.calls();
    const auto found =
        run_library_model(text, {*reduced, device.set(), &cpu_kernel_set()}, {x, w, b});
    CHECK(device.calls() == 1);
    const auto expected = run_library_model(text, {&cpu_kernel_set()}, {rounded(x), rounded(w), b});
    const auto exact = run_library_model(text, {&cpu_kernel_set()}, {x, w, b});
    const Status s = compare_tensors(expected[0], found[0], {1e-5, 1e-5});
    CHECK_MESSAGE(s.ok(), precision << ": " << (s.ok() ? "" : s.error().message));
    CHECK(!compare_tensors(exact[0], found[0], {1e-6, 1e-6}).ok());
  }
}

TEST_CASE("device library: onnx's node tests of convolutions and pools") {
  const char* root = std::getenv("ONNXTOOL_NODE_TESTS");
  if (!root) {
    std::cout << "SKIP: ONNXTOOL_NODE_TESTS names no directory of onnx's node tests\n";
    return;
  }
  const DeviceWithLibrary device;
  int passed = 0;
  for (const auto& e : std::filesystem::directory_iterator(root)) {
    const std::string name = e.path().filename().string();
    if (name.find("conv") == std::string::npos && name.find("pool") == std::string::npos) continue;
    const Status s = run_data_sets(e.path(), {device.set(), &cpu_kernel_set()}, {});
    CHECK_MESSAGE(s.ok(), name << ": " << (s.ok() ? "" : s.error().message));
    passed += s.ok();
  }
  CHECK(passed > 50);
  CHECK(device.calls() > 30);
}

}  // namespace
}  // namespace onnxtool::testing
