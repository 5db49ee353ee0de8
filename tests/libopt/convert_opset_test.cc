// Raising a model's opset: every adapter before and after on the executor, what cannot be
// converted, and what must stay as it was.
#include "libopt/convert/convert_opset.h"

#include <doctest/doctest.h>

#include <unistd.h>
#include <algorithm>
#include <filesystem>
#include <initializer_list>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "libopt/io/load.h"
#include "libopt/io/save.h"
#include "tests/libopt/conversion.h"
#include "tests/support/data_set.h"

namespace onnxtool::testing {
namespace fs = std::filesystem;
namespace {

ConversionReport convert(Model& model, int target) {
  auto report = convert_opset(model, target);
  if (!report.ok()) {
    FAIL(report.error().message);
    return {};
  }
  return *std::move(report);
}

std::string blockers(Model& model, int target) {
  const auto report = convert_opset(model, target);
  if (report.ok()) return "";
  CHECK(report.error().code == ErrorCode::kUnsupported);
  return report.error().message;
}

struct Case {
  const char* name;
  int opset;
  std::string header;  // inputs and outputs, initializers
  std::string nodes;
  std::vector<Dims> inputs;  // extents to run with
  std::vector<int> targets = {13, 21};
};

std::string text_of(const Case& c) {
  return "<ir_version: 8, opset_import: [\"\" : " + std::to_string(c.opset) + "]> g " + c.header +
         " { " + c.nodes + " }";
}

// The same outputs, bit by bit, before and after; under every target.
void compare(const Case& c) {
  CAPTURE(c.name);
  const auto before = parse_or_fail(text_of(c));
  std::vector<Tensor> inputs;
  for (size_t i = 0; i < c.inputs.size(); ++i)
    inputs.push_back(sample(before->graph().inputs()[i]->type(), c.inputs[i]));
  const auto untouched = before->clone();
  const std::vector<Tensor> expected = run_or_fail(*before, inputs, c.name);
  for (const int target : c.targets) {
    CAPTURE(target);
    const auto model = untouched->clone();
    const ConversionReport report = convert(*model, target);
    CHECK(report.from == c.opset);
    CHECK(report.to == target);
    CHECK(model->opset("") == target);
    CHECK(!report.changes.empty());
    check_nodes(model->graph());
    if (const Status s = infer_graph(model->graph()); !s.ok()) FAIL_CHECK(s.error().message);
    if (expected.empty()) continue;
    const std::vector<Tensor> actual = run_or_fail(*model, inputs, c.name);
    if (actual.empty()) continue;
    REQUIRE(actual.size() == expected.size());
    for (size_t i = 0; i < actual.size(); ++i) {
      const Status s = compare_tensors(expected[i], actual[i], {0, 0});
      CHECK_MESSAGE(s.ok(),
                    c.name << " to " << target << ": " << (s.ok() ? "" : s.error().message));
    }
  }
}

std::vector<float> floats_of(const Tensor& t) { return t.values<float>(); }

}  // namespace

TEST_CASE("attributes that became inputs") {
  const std::string xy = "(float[A,B,C] x) => (float[D,E,F] y)";
  for (const Case& c : std::initializer_list<Case>{
           {"Slice",
            7,
            xy,
            "y = Slice <starts = [1, -2], ends = [2147483647, 1000], axes = [0, 2]> (x)",
            {{3, 4, 5}},
            {10, 13, 21}},
           {"Slice without axes",
            9,
            xy,
            "y = Slice <starts = [1, 0], ends = [-1, 2]> (x)",
            {{3, 4, 5}}},
           {"TopK",
            7,
            "(float[A,B] x) => (float[C,D] y, int64[C,D] i)",
            "y, i = TopK <k = 2, axis = 0> (x)",
            {{4, 3}},
            {10, 11, 21}},
           {"Pad",
            7,
            xy,
            "y = Pad <pads = [0, 1, 0, 2, 0, -1], value = 1.5> (x)",
            {{2, 3, 4}},
            {11, 18, 21}},
           {"Pad that reflects",
            10,
            xy,
            "y = Pad <mode = \"reflect\", pads = [0, 1, 0, 0, 0, 1], value = 1.5> (x)",
            {{2, 3, 4}}},
           {"Clip", 7, xy, "y = Clip <max = 0.5> (x)", {{2, 3, 4}}, {11, 12, 13}},
           {"Clip from both sides", 10, xy, "y = Clip <min = -0.25, max = 0.5> (x)", {{2, 3, 4}}},
           {"Dropout", 7, xy, "y = Dropout <ratio = 0.3> (x)", {{2, 3, 4}}, {12, 13}},
           {"Squeeze",
            7,
            "(float[A,1,C,1] x) => (float[A,C] y)",
            "y = Squeeze <axes = [1, 3]> (x)",
            {{2, 1, 3, 1}}},
           {"Unsqueeze",
            11,
            "(float[A,B] x) => (float[A,1,B,1] y)",
            "y = Unsqueeze <axes = [1, -1]> (x)",
            {{2, 3}}},
           {"Split",
            7,
            "(float[A,B] x) => (float[A,C] y, float[A,D] z)",
            "y, z = Split <axis = 1, split = [1, 3]> (x)",
            {{2, 4}}},
           {"ReduceSum", 7, xy, "y = ReduceSum <axes = [0, 2]> (x)", {{2, 3, 4}}},
           {"ReduceMean",
            11,
            "(float[A,B,C] x) => (float[A,C] y)",
            "y = ReduceMean <axes = [-2], keepdims = 0> (x)",
            {{2, 3, 4}},
            {18, 21}},
           {"ReduceMax", 7, xy, "y = ReduceMax <axes = [1]> (x)", {{2, 3, 4}}, {18, 21}},
           {"ReduceL2", 13, xy, "y = ReduceL2 <axes = [1]> (x)", {{2, 3, 4}}, {18}},
           {"DFT",
            17,
            "(float[A,B,C,1] x) => (float[A,B,C,2] y)",
            "y = DFT <axis = 2> (x)",
            {{1, 3, 4, 1}},
            {20}},
           {"DFT along its default axis",
            17,
            "(float[A,B,C,1] x) => (float[A,B,C,2] y)",
            "y = DFT (x)",
            {{1, 3, 4, 1}},
            {20, 21}},
       })
    compare(c);
}

TEST_CASE("defaults and names that changed") {
  for (const Case& c : std::initializer_list<Case>{
           {"Split into equal parts",
            11,
            "(float[A,B] x) => (float[A,C] y, float[A,C] z)",
            "y, z = Split <axis = 1> (x)",
            {{2, 4}},
            {18, 21}},
           {"Scatter",
            9,
            "(float[3,3] x, int64[1,3] i, float[1,3] u) => (float[3,3] y)",
            "y = Scatter <axis = 0> (x, i, u)",
            {{3, 3}, {1, 3}, {1, 3}}},
           {"RoiAlign",
            10,
            "(float[1,1,6,6] x, int64[1] b) => (float[1,1,2,2] y) <float[1,4] r = {1.0, 0.5, 4.0, "
            "5.0}>",
            "y = RoiAlign <output_height = 2, output_width = 2> (x, r, b)",
            {{1, 1, 6, 6}, {1}},
            {16, 21}},
           {"GridSample",
            16,
            "(float[1,1,4,4] x, float[1,2,2,2] g) => (float[1,1,2,2] y)",
            "y = GridSample <mode = \"bicubic\"> (x, g)",
            {{1, 1, 4, 4}, {1, 2, 2, 2}},
            {20}},
           {"BatchNormalization",
            7,
            "(float[1,2,2,2] x) => (float[1,2,2,2] y) <float[2] s = {1.0, 2.0}, float[2] v = {1.0, "
            "4.0}>",
            "y = BatchNormalization <spatial = 1> (x, s, s, s, v)",
            {{1, 2, 2, 2}},
            {9, 13, 15}},
           {"GroupNormalization",
            18,
            "(float[1,4,2] x) => (float[1,4,2] y) <float[2] s = {1.0, 2.0}, float[2] b = {0.5, "
            "-1.0}>",
            "y = GroupNormalization <num_groups = 2> (x, s, b)",
            {{1, 4, 2}},
            {21}},
           {"GroupNormalization of unknown channels",
            18,
            "(float[A,B,C] x, float[2] s, float[2] b) => (float[A,B,C] y)",
            "y = GroupNormalization <num_groups = 2> (x, s, b)",
            {{1, 6, 2}, {2}, {2}},
            {21}},
       })
    compare(c);
}

TEST_CASE("softmax keeps its meaning as a matrix operation") {
  for (const char* op : {"Softmax", "LogSoftmax", "Hardmax"}) {
    const auto with = [&](int axis) {
      return "y = " + std::string(op) + " <axis = " + std::to_string(axis) + "> (x)";
    };
    const std::string known = "(float[2,3,4] x) => (float[2,3,4] y)",
                      unknown = "(float[A,B,C] x) => (float[A,B,C] y)";
    for (const std::string& header : {known, unknown})
      for (const int axis : {0, 1, 2}) compare({op, 7, header, with(axis), {{2, 3, 4}}});
    compare({op, 11, known, with(-2), {{2, 3, 4}}});
    compare({op, 12, known, "y = " + std::string(op) + " (x)", {{2, 3, 4}}});
  }
  // Where one axis alone has more than one element, that axis is the new one: nothing is reshaped.
  for (const auto& [dims, axis, expected] :
       {std::tuple("2,3,4", 2, -1), std::tuple("2,C,1,1", 1, 1), std::tuple("2,1,C", 1, -1)}) {
    const std::string shape = "float[" + std::string(dims) + "]";
    const auto model =
        parse_or_fail("<ir_version: 7, opset_import: [\"\" : 11]> g (" + shape + " x) => (" +
                      shape + " y) { y = Softmax <axis = " + std::to_string(axis) + "> (x) }");
    convert(*model, 13);
    REQUIRE(model->graph().num_nodes() == 1);
    CHECK(find_op(model->graph(), "Softmax")->attr<int64_t>("axis", 99) == expected);
  }
  const auto model = parse_or_fail(
      "<ir_version: 7, opset_import: [\"\" : 11]> g (float[A,B,C] x) => (float[A,B,C] y) { y = "
      "Softmax (x) }");
  convert(*model, 13);
  CHECK(model->graph().outputs()[0]->name() == "y");
  CHECK(model->graph().outputs()[0]->producer()->is("Reshape"));
  CHECK(find_op(model->graph(), "Flatten")->attr<int64_t>("axis", 99) == 1);
}

TEST_CASE("upsample and the first resize keep onnxruntime's pixels") {
  const std::string xy = "(float[A,B,C,D] x) => (float[E,F,G,H] y)";
  for (const char* mode : {"nearest", "linear"}) {
    const std::string m = "mode = \"" + std::string(mode) + "\"";
    compare({"Upsample-7",
             7,
             xy,
             "y = Upsample <" + m + ", scales = [1.0, 1.0, 1.5, 2.0]> (x)",
             {{1, 2, 3, 4}},
             {10, 11, 12, 13, 21}});
    for (const char* scales : {"1.0, 1.0, 2.0, 2.3", "1.0, 1.0, 0.6, 0.7", "1.0, 1.0, 0.3, 1.7"}) {
      const std::string initializer = " <float[4] s = {" + std::string(scales) + "}>";
      compare({"Resize-10",
               10,
               xy + initializer,
               "y = Resize <" + m + "> (x, s)",
               {{1, 1, 7, 6}},
               {11, 13, 19}});
    }
  }
  const auto resizes = [](const char* scales, const char* header, int target) {
    auto model = parse_or_fail("<ir_version: 5, opset_import: [\"\" : 10]> g " +
                               std::string(header) + scales + " { y = Resize (x, s) }");
    convert(*model, target);
    return model;
  };
  const char* const kUnknown = "(float[A,B] x) => (float[C,D] y) ";
  auto grows = resizes("<float[2] s = {1.0, 2.0}>", kUnknown, 13);
  CHECK(count_op(grows->graph(), "Resize") == 1);
  const Node& grown = *find_op(grows->graph(), "Resize");
  CHECK(grown.attr<std::string>("nearest_mode", {}) == "floor");
  CHECK(grown.attr<std::string>("coordinate_transformation_mode", {}) == "asymmetric");
  CHECK(!grown.has_input(1));  // there is no region
  CHECK(grown.has_input(2));
  auto shrinks = resizes("<float[2] s = {1.0, 0.3}>", kUnknown, 12);
  CHECK(find_op(shrinks->graph(), "Resize")->attr<std::string>("nearest_mode", {}) == "ceil");
  CHECK(find_op(shrinks->graph(), "Resize")->input(1).constant()->count() ==
        0);  // before 13 no input may be absent here
  CHECK(count_op(resizes("<float[2] s = {0.5, 2.0}>", kUnknown, 13)->graph(), "Resize") == 2);
  // Scales from outside: what they do is known from the extents, or done one way after the other.
  CHECK(count_op(resizes("", "(float[2,4] x, float[2] s) => (float[2,8] y)", 13)->graph(),
                 "Resize") == 1);
  CHECK(count_op(resizes("", "(float[A,B] x, float[2] s) => (float[C,D] y)", 13)->graph(),
                 "Resize") == 2);
}

TEST_CASE("tf_half_pixel_for_nn is half_pixel under another rounding") {
  const auto with = [](const char* rounding, const char* expected) {
    auto model = parse_or_fail(
        "<ir_version: 6, opset_import: [\"\" : 11]> g (float[1,1,7,6] x) => (float[1,1,C,D] y) "
        "<float[4] s = {1.0, 1.0, 0.6, 1.7}, "
        "float[0] r = {}> { y = Resize <coordinate_transformation_mode = \"tf_half_pixel_for_nn\", "
        "mode = \"nearest\"" +
        std::string(rounding) + "> (x, r, s) }");
    convert(*model, 13);
    const Node& n = *find_op(model->graph(), "Resize");
    CHECK(n.attr<std::string>("coordinate_transformation_mode", {}) == "half_pixel");
    CHECK(n.attr<std::string>("nearest_mode", {}) == expected);
  };
  with(", nearest_mode = \"floor\"", "round_prefer_ceil");
  with("", "ceil");
  auto other = parse_or_fail(
      "<ir_version: 6, opset_import: [\"\" : 11]> g (float[1,1,7,6] x, float[0] r, float[4] s) => "
      "(float[1,1,C,D] y) "
      "{ y = Resize <coordinate_transformation_mode = \"tf_half_pixel_for_nn\", mode = \"linear\"> "
      "(x, r, s) }");
  CHECK(contains(blockers(*other, 13), "tf_half_pixel_for_nn is gone"));
}

TEST_CASE("clip keeps the bounds that only doubles feel") {
  for (const char* type : {"float", "double"}) {
    const auto model =
        parse_or_fail("<ir_version: 5, opset_import: [\"\" : 10]> g (" + std::string(type) +
                      "[2] x) => (" + type + "[2] y) { y = Clip <min = -1.0> (x) }");
    convert(*model, 13);
    const Node& n = *find_op(model->graph(), "Clip");
    CHECK(n.input(1).constant()->to_doubles() == std::vector<double>{-1});
    CHECK(n.has_input(2) == (std::string(type) == "double"));
    if (n.has_input(2))
      CHECK(n.input(2).constant()->to_doubles() == std::vector<double>{3.4028234663852886e38});
  }
}

TEST_CASE("versions before 7") {
  // A [2,2,3], B [2]: by attribute along axis 1.
  const auto model = parse_or_fail(
      "<ir_version: 3, opset_import: [\"\" : 5]> g (float[2,2,3] a, float[2] b) => (float[2,2,3] "
      "y) "
      "{ c = Relu <consumed_inputs = [0]> (a)  y = Add <broadcast = 1, axis = 1> (c, b) }");
  convert(*model, 13);
  check_nodes(model->graph());
  CHECK(find_op(model->graph(), "Relu")->attributes().empty());
  CHECK(find_op(model->graph(), "Add")->attributes().empty());
  const std::vector<Tensor> out =
      run_or_fail(*model,
                  {Tensor::from<float>({2, 2, 3}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}),
                   Tensor::vector<float>({10, 20})},
                  "Add-6");
  if (!out.empty())
    CHECK(floats_of(out[0]) == std::vector<float>{10, 11, 12, 23, 24, 25, 16, 17, 18, 29, 30, 31});

  // A constant operand is reshaped instead; last axes that meet need nothing.
  const auto constant = parse_or_fail(
      "<ir_version: 4, opset_import: [\"\" : 6]> g (float[2,2,3] a) => (float[2,2,3] y) <float[2] "
      "b = {1.0, 2.0}, float[3] c = {1.0, 2.0, 3.0}> "
      "{ d = Sub <broadcast = 1, axis = 1> (a, b)  y = Mul <broadcast = 1> (d, c) }");
  convert(*constant, 13);
  CHECK(constant->graph().num_nodes() == 2);
  CHECK(find_op(constant->graph(), "Sub")->input(1).constant()->dims() == Dims{2, 1});
  CHECK(find_op(constant->graph(), "Mul")->input(1).name() == "c");

  const auto rest = parse_or_fail(
      "<ir_version: 4, opset_import: [\"\" : 4]> g (float[1,2,2,2] x) => (int32[A,B] y) <float[2] "
      "s = {1.0, 2.0}> "
      "{ a = BatchNormalization <is_test = 1, consumed_inputs = [0, 0, 0, 1, 1]> (x, s, s, s, s)  "
      "b = PRelu (a, s)  c = Dropout <is_test = 1> (b)"
      "  d = Selu (c)  e = Reshape <shape = [2, -1]> (d)  f = Concat <axis = 1> (e, e)  y = Cast "
      "<to = \"INT32\"> (f) }");
  convert(*rest, 13);
  check_nodes(rest->graph());
  CHECK(find_op(rest->graph(), "PRelu")->input(1).constant()->dims() == Dims{2, 1, 1});
  CHECK(find_op(rest->graph(), "Selu")->attr<float>("alpha", 0) == 1.6732f);
  CHECK(find_op(rest->graph(), "Cast")->attr<int64_t>("to", 0) == 6);
  CHECK(find_op(rest->graph(), "Reshape")->input(1).constant()->to_ints() == Dims{2, -1});

  const auto upsample = parse_or_fail(
      "<ir_version: 4, opset_import: [\"\" : 6]> g (float[1,1,2,2] x) => (float[1,1,4,6] y) "
      "{ y = Upsample <height_scale = 2.0, width_scale = 3.0, mode = \"bilinear\"> (x) }");
  convert(*upsample, 13);
  check_nodes(upsample->graph());
  CHECK(find_op(upsample->graph(), "Resize")->attr<std::string>("mode", {}) == "linear");
  CHECK(find_op(upsample->graph(), "Resize")->input(2).constant()->to_doubles() ==
        std::vector<double>{1, 1, 2, 3});
}

TEST_CASE("what has no equal is named with its reason, and nothing is touched") {
  const auto model = parse_or_fail(
      R"(<ir_version: 3, opset_import: ["" : 7]> g (float[1,3,8,8] x, float[3,8,8] s) => (float[1,3,8,8] y, float[1,3,8,8] m)
    { [scaler] a = ImageScaler <scale = 1.0> (x)  [crop1] b = Crop <border = [0, 0, 0, 0]> (a)  [crop2] c = Crop <border = [0, 0, 0, 0]> (b)
      [norm] d = BatchNormalization <spatial = 0> (c, s, s, s, s)  [slice] e = Slice <starts = [0], ends = [1]> (d)  [drop] y, m = Dropout (e) })");
  const std::string before = print_text(*model);
  const std::string message = blockers(*model, 13);
  CHECK(print_text(*model) == before);
  CHECK(contains(message, "from 7 to 13"));
  CHECK(contains(message,
                 "node 'scaler' (ImageScaler), node 'crop1' (Crop), node 'crop2' (Crop): it was "
                 "experimental"));
  CHECK(contains(message, "node 'norm' (BatchNormalization): spatial is 0"));
  CHECK(contains(message, "node 'drop' (Dropout): its mask is read"));
  CHECK(!contains(message, "slice"));

  const auto reason = [](int opset, const std::string& header, const std::string& nodes,
                         int target) {
    return blockers(*parse_or_fail("<ir_version: 4, opset_import: [\"\" : " +
                                   std::to_string(opset) + "]> g " + header + " { " + nodes + " }"),
                    target);
  };
  const std::string xy = "(float[A,B] x) => (float[A,B] y)";
  CHECK(contains(reason(6, xy, "y = Dropout (x)", 7), "it trains"));
  CHECK(contains(reason(6, "(float x, float[2] b) => (float[A,B] y)",
                        "c = Foo <k = 1> (x)  y = Add <broadcast = 1, axis = 0> (c, b)", 7),
                 "no such operator"));
  CHECK(contains(reason(6, "(float[A] x, float[2] i) => (float[A,B] y)",
                        "z = Reshape (x, i)  y = Add <broadcast = 1, axis = 0> (z, i)", 7),
                 "operands of unknown rank"));
  CHECK(contains(reason(1, xy, "y = Pad <paddings = [0, 0, 1, 1]> (x)", 2), "ambiguous"));
  CHECK(contains(reason(13, "(float[1,2] x, float[2] s) => (float[1,2] y)",
                        "y, n, w = BatchNormalization (x, s, s, s, s)", 15),
                 "outputs of training"));
  CHECK(contains(reason(10, "(float[A] x) => (int32[A] z)",
                        "y = Cast <to = 6> (x)  z = Clip <min = 1.0> (y)", 11),
                 "floating-point"));
  CHECK(reason(13, "(float[1,2] x, float[2] s) => (float[1,2] y)",
               "y = BatchNormalization (x, s, s, s, s)", 15)
            .empty());
  // Without axes beyond the channels, both readings of `spatial` agree.
  CHECK(reason(7, "(float[1,2] x, float[2] s) => (float[1,2] y)",
               "y = BatchNormalization <spatial = 0> (x, s, s, s, s)", 9)
            .empty());
}

TEST_CASE("subgraphs and bodies of functions are converted") {
  const auto model = parse_or_fail(
      R"(<ir_version: 6, opset_import: ["" : 11]> g (float[1,3] x, bool c) => (float[A] y)
    { y = If (c) <then_branch = t () => (float[3] a) { a = Squeeze <axes = [0]> (x) },
                  else_branch = e () => (float[3] b) { z = Neg (x)  b = Squeeze <axes = [0]> (z) }> })");
  const ConversionReport report = convert(*model, 13);
  CHECK(report.changes == std::vector<std::string>{"Squeeze: axes became an input (2 nodes)"});
  check_nodes(model->graph());
  int squeezes = 0;
  find_op(model->graph(), "If")->for_each_subgraph([&](Graph& g) {
    squeezes += find_op(g, "Squeeze")->has_input(1);
    CHECK(g.find(find_op(g, "Squeeze")->input(1).name()) != nullptr);
  });
  CHECK(squeezes == 2);
  const std::vector<Tensor> out =
      run_or_fail(*model,
                  {Tensor::from<float>({1, 3}, {1, 2, 3}),
                   Tensor::from_bytes(DataType::kBool, {}, {std::byte{0}})},
                  "If");
  if (!out.empty()) CHECK(floats_of(out[0]) == std::vector<float>{-1, -2, -3});

  const std::string function =
      R"(<ir_version: 8, opset_import: ["" : 17, "local" : 1]> g (float[2,3] x) => (float[A] y) { y = local.f (x) }
    <domain: "local", opset_import: ["" : 17]> f (x) => (y) )";
  const auto body = parse_or_fail(function + "{ y = ReduceMax <axes = [0], keepdims = 0> (x) }");
  convert(*body, 18);
  const Function& f = body->functions.at(0);
  CHECK(f.opsets.at(0).version == 18);
  const Node& reduce = *find_op(*f.body, "ReduceMax");
  REQUIRE(reduce.has_input(1));
  CHECK(reduce.input(1).producer()->is("Constant"));  // a body has no initializers

  const auto parameter = parse_or_fail(
      R"(<ir_version: 8, opset_import: ["" : 17, "local" : 1]> g (float[2,3] x) => (float[A] y) { y = local.f <where = [0]> (x) }
    <domain: "local", opset_import: ["" : 17]> f <where> (x) => (y) { [max] y = ReduceMax <axes : ints = @where, keepdims = 0> (x) })");
  CHECK(contains(
      blockers(*parameter, 18),
      "function 'f': node 'max' (ReduceMax): its attribute axes stands for one of the function's"));
}

TEST_CASE("inputs and outputs, other domains and unread masks") {
  const auto model = parse_or_fail(
      R"(<ir_version: 3, opset_import: ["" : 7, "com.acme" : 1]> g (float[2,4] x) => (float[2,2] a, float[2,4] b)
    { t = com.acme.Softmax <axis = 1> (x)  a = Slice <starts = [0], ends = [2], axes = [1]> (t)  b, mask = Dropout (x) })");
  const ConversionReport report = convert(*model, 13);
  CHECK(report.ir_from == 3);
  CHECK(report.ir_to == 7);
  CHECK(model->opset("com.acme") == 1);
  for (const Node& n : model->graph().nodes())
    if (n.domain() == "com.acme") CHECK(n.attr<int64_t>("axis", 0) == 1);
  REQUIRE(model->graph().inputs().size() == 1);
  CHECK(model->graph().outputs()[0]->name() == "a");
  CHECK(model->graph().outputs()[1]->name() == "b");
  CHECK(format_type(model->graph().outputs()[0]->type()) == "float[2, 2]");
  CHECK(!find_op(model->graph(), "Dropout")->has_output(1));
  // A new constant is an initializer, typed, and no graph input.
  const Value& starts = find_op(model->graph(), "Slice")->input(1);
  CHECK(starts.initializer() != nullptr);
  CHECK(!starts.is_graph_input());
  CHECK(format_type(starts.type()) == "int64[1]");
}

TEST_CASE("versions that ask for nothing") {
  const std::string graph = "g (float[2] x) => (float[2] y) { y = Relu (x) }";
  const auto above = parse_or_fail("<ir_version: 8, opset_import: [\"\" : 17]> " + graph);
  const ConversionReport same = convert(*above, 13);
  CHECK(same.from == 17);
  CHECK(same.to == 17);
  CHECK(above->opset("") == 17);
  CHECK(above->ir_version == 8);
  CHECK(contains(blockers(*above, 27), "to 27"));

  const auto widened = parse_or_fail("<ir_version: 4, opset_import: [\"\" : 9]> " + graph);
  CHECK(convert(*widened, 19).changes.empty());
  CHECK(widened->ir_version == 9);

  const auto foreign = parse_or_fail(
      "<ir_version: 8, opset_import: [\"com.acme\" : 1]> g (float[2] x) => (float[2] y) { y = "
      "com.acme.Foo (x) }");
  CHECK(convert(*foreign, 13).from == 0);
  CHECK(foreign->opset("") == 13);

  for (const auto& [opset, ir] :
       {std::pair(7, 3), std::pair(8, 3), std::pair(9, 4), std::pair(10, 5), std::pair(11, 6),
        std::pair(12, 7), std::pair(14, 7), std::pair(15, 8), std::pair(18, 8), std::pair(19, 9),
        std::pair(21, 10)})
    CHECK(least_ir_version(opset) == ir);
}

TEST_CASE("initializers of old files stop being inputs") {
  const auto with_ir = [](int ir) {
    return parse_or_fail(
        "<ir_version: " + std::to_string(ir) +
        ", opset_import: [\"\" : 8]> g (float[2] x, float[2] w = {1.0, 2.0}) => (float[2] "
        "y) { y = Add (x, w) }");
  };
  const auto old = with_ir(3);
  CHECK(promote_initializers(*old) == 1);
  CHECK(old->ir_version == 4);
  REQUIRE(old->graph().inputs().size() == 1);
  CHECK(old->graph().find("w")->constant() != nullptr);
  const auto meant = with_ir(4);
  CHECK(promote_initializers(*meant) == 0);
  CHECK(meant->graph().inputs().size() == 2);
}

TEST_CASE("real models convert, and compute what they did") {
  const fs::path root = shared_data("models");
  if (root.empty()) return;
  for (const auto& entry : fs::directory_iterator(root)) {
    const std::string name = entry.path().filename().string();
    CAPTURE(name);
    auto model = load_model((entry.path() / "model.onnx").string());
    if (!model.ok()) continue;  // the loader's tests say why
    const int from = (*model)->opset("");
    const auto report = convert_opset(**model, kMaxConvertTarget);
    CHECK_MESSAGE(report.ok() == (name != "style_mosaic_legacy_ops"),
                  name << ": " << (report.ok() ? "" : report.error().message));
    if (report.ok() && from < kMaxConvertTarget && from > 0) check_nodes((*model)->graph());
  }
  // Upsample, control flow, and a recurrent network of Slices.
  for (const char* name : {"selfie_segmentation", "crop_and_resize_loop", "scan_lstm_cntk",
                           "tract_lgbm_classifier_tensor"}) {
    CAPTURE(name);
    if (!fs::exists(root / name)) continue;
    auto model = load_model((root / name / "model.onnx").string());
    REQUIRE(model.ok());
    convert(**model, 13);
    const fs::path file =
        fs::temp_directory_path() / ("convert_opset_" + std::to_string(getpid()) + ".onnx");
    const auto saved = save_model(**model, file.string(), {});
    REQUIRE_MESSAGE(saved.ok(), (saved.ok() ? "" : saved.error().message));
    const Status s = run_data_sets(root / name, {&cpu_kernel_set()}, {1e-3, 1e-4}, 1, file);
    fs::remove(file);
    if (!s.ok() && s.error().code == ErrorCode::kUnsupported)
      std::cout << "SKIP: " << name << ": " << s.error().message << "\n";
    else
      CHECK_MESSAGE(s.ok(), name << ": " << (s.ok() ? "" : s.error().message));
  }
}

}  // namespace onnxtool::testing
