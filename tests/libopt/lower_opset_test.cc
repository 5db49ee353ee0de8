// Lowering a model's opset: every lowering before and after on the executor, what cannot go back,
// and what must stay as it was.
#include "libopt/convert/lower_opset.h"

#include <doctest/doctest.h>

#include <initializer_list>

#include "libopt/io/load.h"
#include "tests/libopt/conversion.h"
#include "tests/support/data_set.h"

namespace onnxtool::testing {
namespace {

struct Case {
  const char* name;
  int opset;
  std::string header;  // inputs and outputs, initializers
  std::string nodes;
  std::vector<Dims> inputs;  // extents to run with
  std::vector<int> targets;
  double tolerance = 0;
};

std::unique_ptr<Model> model_of(int opset, const std::string& header, const std::string& nodes) {
  return parse_or_fail("<ir_version: 10, opset_import: [\"\" : " + std::to_string(opset) + "]> g " +
                       header + " { " + nodes + " }");
}

void compare(const Case& c) {
  CAPTURE(c.name);
  const auto before = model_of(c.opset, c.header, c.nodes);
  std::vector<Tensor> inputs;
  for (size_t i = 0; i < c.inputs.size(); ++i)
    inputs.push_back(sample(before->graph().inputs()[i]->type(), c.inputs[i]));
  const auto untouched = before->clone();
  const std::vector<Tensor> expected = run_or_fail(*before, inputs, c.name);
  for (const int target : c.targets) {
    CAPTURE(target);
    auto model = untouched->clone();
    const auto report = lower_opset(model, target);
    if (!report.ok()) {
      FAIL_CHECK(report.error().message);
      continue;
    }
    CHECK(report->from == c.opset);
    CHECK(report->to == target);
    CHECK(model->opset("") == target);
    check_nodes(model->graph());
    const std::vector<Tensor> actual = run_or_fail(*model, inputs, c.name);
    REQUIRE(actual.size() == expected.size());
    for (size_t i = 0; i < actual.size(); ++i) {
      const Status s = compare_tensors(expected[i], actual[i], {c.tolerance, c.tolerance});
      CHECK_MESSAGE(s.ok(), (s.ok() ? "" : s.error().message));
    }
  }
}

std::string reason(int opset, const std::string& header, const std::string& nodes, int target) {
  auto model = model_of(opset, header, nodes);
  const std::string text = print_text(*model);
  const auto report = lower_opset(model, target);
  if (report.ok()) return "";
  CHECK(report.error().code == ErrorCode::kUnsupported);
  CHECK(print_text(*model) == text);
  return report.error().message;
}

const std::string kXy = "(float[A,B,C] x) => (float[D,E,F] y)";
const std::string kSquare = "(float[2,3,4] x) => (float[2,3,4] y)";

std::string with(const std::string& header, const std::string& initializers) {
  return header + " <" + initializers + ">";
}

}  // namespace

TEST_CASE("lowering: inputs become attributes") {
  for (const Case& c : std::initializer_list<Case>{
           {"Slice",
            21,
            with(kXy, "int64[2] s = {1,-2}, int64[2] e = {2147483647,1000}, int64[2] a = {0,-1}"),
            "y = Slice (x, s, e, a)",
            {{3, 4, 5}},
            {9, 7}},
           {"TopK",
            21,
            with("(float[A,B] x) => (float[C,D] y, int64[C,D] i)", "int64[1] k = {2}"),
            "y, i = TopK <axis = 0> (x, k)",
            {{4, 3}},
            {10, 9}},
           {"Pad",
            21,
            with(kXy, "int64[4] p = {1,2,-1,0}, int64[2] a = {1,-1}, float v = {1.5}"),
            "y = Pad (x, p, v, a)",
            {{2, 3, 4}},
            {17, 13, 10}},
           {"Clip", 21, with(kXy, "float h = {0.5}"), "y = Clip (x, , h)", {{2, 3, 4}}, {10, 7}},
           {"Dropout",
            21,
            with(kXy, "float r = {0.3}"),
            "y, m = Dropout (x, r)",
            {{2, 3, 4}},
            {11, 9}},
           {"Squeeze",
            21,
            with("(float[A,1,C,1] x) => (float[A,C] y)", "int64[2] a = {1,-1}"),
            "y = Squeeze (x, a)",
            {{2, 1, 3, 1}},
            {11, 10}},
           {"Unsqueeze",
            21,
            with("(float[A,B] x) => (float[A,1,B,1] y)", "int64[2] a = {1,-1}"),
            "y = Unsqueeze (x, a)",
            {{2, 3}},
            {12, 10}},
           {"Split by sizes",
            21,
            with("(float[A,B] x) => (float[A,C] y, float[A,D] z)", "int64[2] s = {1,3}"),
            "y, z = Split <axis = 1> (x, s)",
            {{2, 4}},
            {17, 12, 7}},
           {"Split into unequal parts",
            21,
            "(float[2,5] x) => (float[2,C] y, float[2,D] z)",
            "y, z = Split <axis = -1, num_outputs = 2> (x)",
            {{2, 5}},
            {17, 12, 7}},
           {"Split into equal parts",
            21,
            "(float[2,4] x) => (float[2,C] y, float[2,D] z)",
            "y, z = Split <axis = 1, num_outputs = 2> (x)",
            {{2, 4}},
            {17, 12}},
           {"ReduceSum",
            21,
            with(kXy, "int64[2] a = {0,-1}"),
            "y = ReduceSum (x, a)",
            {{2, 3, 4}},
            {12, 10}},
           {"ReduceMean",
            21,
            with(kXy, "int64[1] a = {1}"),
            "y = ReduceMean (x, a)",
            {{2, 3, 4}},
            {17, 7}},
           {"ReduceMax of none",
            21,
            kXy,
            "y = ReduceMax <noop_with_empty_axes = 1, keepdims = 0> (x)",
            {{2, 3, 4}},
            {17}},
           {"ReduceL2 of all", 21, kXy, "y = ReduceL2 (x)", {{2, 3, 4}}, {17, 10}},
           {"DFT",
            20,
            with("(float[1,3,4,1] x) => (float[A,B,C,2] y)", "int64 a = {-2}"),
            "y = DFT (x, , a)",
            {{1, 3, 4, 1}},
            {19}},
       })
    compare(c);
}

TEST_CASE("lowering: attributes that did not exist or meant something else") {
  for (const Case& c : std::initializer_list<Case>{
           {"Softmax of the last axis", 21, kXy, "y = Softmax (x)", {{2, 3, 4}}, {12, 10}},
           {"Softmax of an axis between",
            21,
            kSquare,
            "y = Softmax <axis = 1> (x)",
            {{2, 3, 4}},
            {12, 7}},
           {"LogSoftmax",
            21,
            "(float[2,3,1] x) => (float[2,3,1] y)",
            "y = LogSoftmax <axis = -2> (x)",
            {{2, 3, 1}},
            {12, 7}},
           {"Quantization of all",
            21,
            with(kXy, "float[1] s = {0.1}, uint8[1] z = {128}"),
            "q = QuantizeLinear (x, s, z)  y = DequantizeLinear (q, s, z)",
            {{2, 3, 4}},
            {18, 12, 10}},
           {"Shape of some axes",
            21,
            "(float[A,B,C] x) => (int64[D] y)",
            "y = Shape <start = -2, end = 5> (x)",
            {{2, 3, 4}},
            {14, 10}},
           {"Reshape",
            21,
            with(kXy, "int64[3] s = {4,-1,2}"),
            "y = Reshape <allowzero = 1> (x, s)",
            {{2, 3, 4}},
            {13}},
           {"pools",
            21,
            "(float[1,1,6,6] x) => (float[A,B,C,D] y)",
            "a = AveragePool <kernel_shape = [2,2], dilations = [1,1]> (x)  y = MaxPool "
            "<kernel_shape = [2,2], dilations = [1,1]> (a)",
            {{1, 1, 6, 6}},
            {18, 9, 7}},
           {"GridSample",
            20,
            with("(float[1,1,4,4] x) => (float[A,B,C,D] y)",
                 "float[1,1,2,2] g = {0.1,0.2,-0.5,0.7}"),
            "y = GridSample <mode = \"cubic\"> (x, g)",
            {{1, 1, 4, 4}},
            {19}},
           {"constants in other forms",
            21,
            kXy,
            "a = Constant <value_ints = [0]> ()  b = Constant <value_float = 2.0> ()  c = "
            "ReduceSum (x, a)  y = Mul (c, b)",
            {{2, 3, 4}},
            {12, 10}},
           {"Gemm without C",
            21,
            "(float[2,3] x) => (float[2,2] y)",
            "y = Gemm <transB = 1> (x, x)",
            {{2, 3}},
            {10, 7}},
           {"ScatterElements",
            21,
            with(kXy, "int64[1,1,1] i = {1}, float[1,1,1] u = {9}"),
            "y = ScatterElements <axis = 2> (x, i, u)",
            {{2, 3, 4}},
            {15, 10}},
           {"axes from the back",
            11,
            kSquare,
            "a, b, c = Split <axis = -2> (x)  y = Concat <axis = -2> (b, a, c)",
            {{2, 3, 4}},
            {10}},
       })
    compare(c);
}

TEST_CASE("lowering: Resize") {
  const std::string x = "(float[1,1,2,3] x) => (float[A,B,C,D] y)";
  for (const Case& c : std::initializer_list<Case>{
           {"sizes",
            21,
            with(x, "int64[4] s = {1,1,5,4}"),
            "y = Resize <mode = \"linear\"> (x, , , s)",
            {{1, 1, 2, 3}},
            {18, 12, 11}},
           {"axes",
            21,
            with(x, "float[2] s = {2,1.5}"),
            "y = Resize <mode = \"cubic\", axes = [3,-2]> (x, , s)",
            {{1, 1, 2, 3}},
            {17, 12}},
           {"axes with sizes",
            21,
            with(x, "int64[1] s = {5}"),
            "y = Resize <axes = [-1]> (x, , , s)",
            {{1, 1, 2, 3}},
            {17}},
           {"asymmetric",
            21,
            with(x, "float[4] s = {1,1,2,2}"),
            "y = Resize <mode = \"nearest\", coordinate_transformation_mode = \"asymmetric\", "
            "nearest_mode = \"floor\"> (x, , s)",
            {{1, 1, 2, 3}},
            {11, 10, 9}},
       })
    compare(c);
}

TEST_CASE("lowering: newer operators are written out") {
  for (const Case& c : std::initializer_list<Case>{
           {"Gelu", 20, kXy, "y = Gelu (x)", {{2, 3, 4}}, {19, 13}, 1e-6},
           {"Swish", 24, kXy, "y = Swish (x)", {{2, 3, 4}}, {23, 13}, 1e-6},
           {"HardSwish", 21, kXy, "y = HardSwish (x)", {{2, 3, 4}}, {13, 9}, 1e-6},
           {"LayerNormalization",
            21,
            with(kSquare, "float[4] s = {1,2,3,4}, float[4] b = {4,3,2,1}"),
            "y = LayerNormalization (x, s, b)",
            {{2, 3, 4}},
            {16, 13},
            1e-4},
           {"GroupNormalization",
            21,
            with("(float[1,4,3] x) => (float[1,4,3] y)",
                 "float[4] s = {1,2,3,4}, float[4] b = {4,3,2,1}"),
            "y = GroupNormalization <num_groups = 2> (x, s, b)",
            {{1, 4, 3}},
            {20, 17},
            1e-5},
           {"GreaterOrEqual",
            12,
            with("(float[A,B,C] x) => (bool[A,B,C] y)", "float t = {0.5}"),
            "y = GreaterOrEqual (x, t)",
            {{2, 3, 4}},
            {11}},
       })
    compare(c);
}

TEST_CASE("lowering: what cannot go back is named with its reason, and nothing is touched") {
  CHECK(contains(
      reason(
          21, "(float[2,3] x) => (float[A,B] y, float[2,3] z)",
          "[c] n = NonZero (x)  [tri] a = Trilu (x)  [tri2] z = Trilu (a)  y = Cast <to = 1> (n)",
          13),
      "from 21 to 13: node 'tri' (Trilu), node 'tri2' (Trilu): Trilu is new in version 14"));
  CHECK(contains(
      reason(21, "(float[A,B] x, int64[1] a) => (float[C,D] y)", "[r] y = ReduceSum (x, a)", 12),
      "node 'r' (ReduceSum): its axes are computed"));
  CHECK(contains(
      reason(21,
             with("(float[A,B] x) => (float[C,D] y)",
                  "int64[1] s = {0}, int64[1] e = {9}, int64[1] a = {0}, int64[1] t = {2}"),
             "y = Slice (x, s, e, a, t)", 9),
      "it goes in steps other than 1"));
  CHECK(contains(
      reason(21, "(float x) => (float[A] y)", "s = Shape (x)  y = ConstantOfShape (s)  ", 8),
      "ConstantOfShape is new in version 9"));
  // As the file has it, whatever it was written out by.
  CHECK(contains(reason(21, "(float[A] x) => (float[A] y)", "[act] y = Gelu (x)", 8),
                 "node 'act' (Gelu), which is written out with Erf: Erf is new in version 9"));
  CHECK(contains(
      reason(16, "(float[A] x) => (bfloat16[A] z)", "y = Cast <to = 16> (x)  z = Abs (y)", 12),
      "which it does not take in version 12"));
  CHECK(contains(reason(14, "(float[A,B,C] x) => (float[D,E] y)",
                        "y, h, c = LSTM <layout = 1, hidden_size = 3> (x, x, x)", 13),
                 "it has no attribute layout in version 13"));
  CHECK(contains(reason(21, "(float[A,B] x) => (float[C,D] y)", "y = Relu (x)", 6),
                 "cannot lower ai.onnx to 6"));
}

TEST_CASE("lowering: IR version, subgraphs, functions") {
  auto model =
      model_of(21, with("(float[2,3] x, bool p) => (float[1,3] y)", "int64[1] a = {0}"),
               "y = If (p) < then_branch = t () => (float[1,3] s) { s = ReduceSum (x, a) },"
               " else_branch = e () => (float[1,3] r) { r = ReduceMax (x, a) }>");
  REQUIRE(lower_opset(model, 12).ok());
  CHECK(model->ir_version == 7);
  check_nodes(model->graph());
  CHECK(model->graph().find("a") == nullptr);

  auto called = parse_or_fail(
      R"(<ir_version: 10, opset_import: ["" : 21, "local" : 1]> g (float[2,3] x) => (float[A,B] y) { y = local.f (x) }
    <domain: "local", opset_import: ["" : 21]> f (x) => (y) { a = Constant <value_ints = [0]> ()  y = ReduceSum (x, a) })");
  REQUIRE(lower_opset(called, 12).ok());
  CHECK(called->ir_version == 8);
  CHECK(called->functions.at(0).opsets.at(0).version == 12);
  CHECK(find_op(*called->functions.at(0).body, "ReduceSum")->attribute("axes"));

  auto below = model_of(13, kXy, "y = Relu (x)");
  CHECK(lower_opset(below, 17)->changes.empty());
  CHECK(below->opset("") == 13);
}

TEST_CASE(
    "lowering: real models go back as far as their nodes let them, and compute what they did") {
  namespace fs = std::filesystem;
  const fs::path root = shared_data("models");
  if (root.empty()) return;
  for (const auto& entry : fs::directory_iterator(root)) {
    const std::string name = entry.path().filename().string();
    CAPTURE(name);
    auto model = load_model((entry.path() / "model.onnx").string());
    if (!model.ok() || (*model)->opset("") <= 11) continue;
    const auto report = lower_opset(*model, 11);
    if (report.ok()) check_nodes((*model)->graph());
    CHECK_MESSAGE((report.ok() || contains(report.error().message, "cannot lower")), name);
  }
}

// Below opset 11 onnx's own inference, which runtimes run too, takes no others.
TEST_CASE("axes of a Squeeze are sorted where they stop counting from the end") {
  auto model = model_of(13, "(float[A,1,C,1] x) => (float[A,C] y) <int64[2] a = {-1,1}>",
                        "y = Squeeze (x, a)");
  REQUIRE(lower_opset(model, 10).ok());
  CHECK(model->graph().nodes().begin().node->attr("axes", std::vector<int64_t>()) ==
        std::vector<int64_t>{1, 3});
}

}  // namespace onnxtool::testing
