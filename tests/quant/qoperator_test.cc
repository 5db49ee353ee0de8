// QDQ to QOperator and back: the integer operators are those that the target has, the numbers are
// the same, and what came from QOperator goes back to it.

#include "quant/qoperator.h"

#include "tests/quant/small_models.h"

namespace onnxtool {
namespace {

using testing::all_layers;
using testing::cpu_run;
using testing::numbers;
using testing::parse;
using testing::quantize;
using testing::Quantized;
using testing::random_samples;

std::map<std::string, int> census(const Graph& graph) {
  std::map<std::string, int> out;
  for (const Node& n : graph.nodes()) ++out[n.op_type()];
  return out;
}

// SQNR of the output that suffers most, of one form against the other.
double agreement(const Model& a, const Model& b) {
  const auto samples = random_samples(a);
  auto compared = compare_models(a.graph(), b.graph(), *samples, cpu_run(), {});
  REQUIRE_MESSAGE(compared.ok(), (compared.ok() ? "" : compared.error().message));
  double worst = INFINITY;
  for (const auto& [name, m] : compared->outputs)
    worst = std::min(worst, m.value(Metric::kSqnr).value_or(-INFINITY));
  return worst;
}

void check_nodes(const Model& model) {
  for (const Node& n : model.graph().nodes()) {
    const Status s = check_node(n);
    CHECK_MESSAGE(s.ok(), (s.ok() ? "" : s.error().message));
  }
}

// The model in QDQ form, every node as its schema wants it and the numbers the same.
std::unique_ptr<Model> raised_from(const Model& model, double least_db) {
  auto raised = model.clone();
  REQUIRE(infer_graph(raised->graph()).ok());
  REQUIRE(raise_to_qdq(*raised).ok());
  check_nodes(*raised);
  CHECK(agreement(model, *raised) > least_db);
  return raised;
}

struct Case {
  const char* body;
  std::map<std::string, int> lowered;  // less Q and DQ at the ends
};

// Both forms of a convolution, `body` and a convolution.
void check_both_ways(const Case& c, DataType activations) {
  INFO(std::string(c.body), " in ", std::string(name(activations)));
  QuantizeOptions options = all_layers();
  options.activation_type = activations;
  const Quantized q = quantize(
      "<ir_version: 8, opset_import: [\"\" : 13]> g (float[1,4,8,8] x) => (float y) "
      "<float[4,4,1,1] w = {" +
          numbers(16) + "}, float[4,4,1,1] v = {" + numbers(16, 0.5) +
          "}, float[4] b = {0.1, -0.2, 0.3, 0.4}, float zero = {0.0}, float six = {6.0}, "
          "float[4,1,1] row = {0.5, -0.25, 1.0, 2.0}, float[4] scales = {1.0, 1.0, 2.0, 2.0}, "
          "int64[3] flat = {1, 4, 64}, int64[4] square = {1, 4, 8, 8}, int64[1] first = {0}, "
          "int64[4] from = {0, 0, 1, 1}, int64[4] to = {1, 4, 8, 8}, "
          "int64[1,4,1,2] at = {0, 1, 2, 3, 4, 5, 6, 7}, bool[4,1,1] which = {1, 0, 0, 1}> { c = "
          "Conv (x, w, b) " +
          c.body + " y = Conv (t, v) }",
      options);
  const std::unique_ptr<Model> lowered = q.output.model->clone();
  lower_to_qoperator(*lowered, kOrtCpu);
  auto found = census(lowered->graph());
  CHECK(found["QuantizeLinear"] == 1);
  CHECK(found["DequantizeLinear"] == 1);
  found.erase("QuantizeLinear");
  found.erase("DequantizeLinear");
  auto expected = c.lowered;
  expected["QLinearConv"] += 2;
  CHECK(found == expected);
  check_nodes(*lowered);
  // Sums are exact in both; what may differ is a rounding of the scales' product.
  CHECK(agreement(*q.output.model, *lowered) > 40);

  const std::unique_ptr<Model> raised = lowered->clone();
  REQUIRE(raise_to_qdq(*raised).ok());
  CHECK(census(raised->graph()) == census(q.output.model->graph()));
  check_nodes(*raised);
  CHECK(agreement(*q.output.model, *raised) > 40);
  lower_to_qoperator(*raised, kOrtCpu);
  CHECK(census(raised->graph()) == census(lowered->graph()));
}

TEST_CASE("qoperator: every operator that the target has, and back") {
  const Case cases[] = {
      {"t = Relu (c)", {}},
      {"t = Clip (c, zero, six)", {}},
      {"t = Add (c, c)", {{"QLinearAdd", 1}}},
      {"r = Relu (c) t = Add (r, row)", {{"QLinearAdd", 1}}},
      {"r = Relu (c) t = Mul (r, row)", {{"QLinearMul", 1}}},
      {"t = Sigmoid (c)", {{"QLinearSigmoid", 1}}},
      {"t = LeakyRelu <alpha = 0.1> (c)", {{"QLinearLeakyRelu", 1}}},
      {"t = Softmax <axis = 1> (c)", {{"QLinearSoftmax", 1}}},
      {"t = AveragePool <kernel_shape = [2, 2]> (c)", {{"QLinearAveragePool", 1}}},
      {"t = GlobalAveragePool (c)", {{"QLinearGlobalAveragePool", 1}}},
      {"t = MaxPool <kernel_shape = [2, 2]> (c)", {{"MaxPool", 1}}},
      {"t = Transpose <perm = [0, 1, 3, 2]> (c)", {{"Transpose", 1}}},
      {"t = Resize <mode = \"nearest\"> (c, , scales)", {{"Resize", 1}}},
      {"f = Reshape (c, flat) t = Reshape (f, square)", {{"Reshape", 2}}},
      {"f = Squeeze (c, first) t = Unsqueeze (f, first)", {{"Squeeze", 1}, {"Unsqueeze", 1}}},
      {"l, h = Split <axis = 1> (c) t = Concat <axis = 1> (h, l)",
       {{"Split", 1}, {"QLinearConcat", 1}}},
      {"t = Slice (c, from, to)", {{"Slice", 1}}},
      {"t = ReduceMax <axes = [2]> (c)", {{"ReduceMax", 1}}},
      {"t = ReduceMin <axes = [3]> (c)", {{"ReduceMin", 1}}},
      {"t = GatherElements <axis = 3> (c, at)", {{"GatherElements", 1}}},
      {"r = Relu (c) t = Where (which, r, six)", {{"QLinearWhere", 1}}},
  };
  for (const Case& c : cases) {
    check_both_ways(c, DataType::kUint8);
    check_both_ways(c, DataType::kInt8);
  }
}

TEST_CASE("qoperator: products give floats where nothing wants their codes") {
  const Quantized q = quantize(
      "<ir_version: 8, opset_import: [\"\" : 13]> g (float[3,6] x) => (float y, float z) "
      "<float[6,6] w = {" +
      numbers(36) + "}, float[6] b = {0.25, -1.0, 0.5, 0.1, 0.2, 0.3}, float[6,6] v = {" +
      numbers(36, 0.5) + "}> { y = Gemm (x, w, b) z = MatMul (x, v) }");
  const std::unique_ptr<Model> lowered = q.output.model->clone();
  lower_to_qoperator(*lowered, kOrtCpu);
  auto found = census(lowered->graph());
  CHECK(found["QGemm"] == 1);
  CHECK(found["MatMulIntegerToFloat"] == 1);
  CHECK(found["DequantizeLinear"] == 0);
  CHECK(lowered->opset("com.microsoft") == 1);
  const Node& gemm = *lowered->graph().find("y")->producer();
  CHECK(gemm.num_inputs() == 7);  // neither y_scale nor y_zero_point
  CHECK(gemm.attribute("beta") == nullptr);
  CHECK(agreement(*q.output.model, *lowered) > 80);
  REQUIRE(raise_to_qdq(*lowered).ok());
  CHECK(census(lowered->graph()) == census(q.output.model->graph()));
  CHECK(agreement(*q.output.model, *lowered) > 80);
}

// One operator between a Q of x and a DQ of y.
std::string between(const std::string& body, const std::string& constants,
                    const std::string& domains = "") {
  return "<ir_version: 8, opset_import: [\"\" : 13" + domains +
         "]> g (float[2,4] x) => (float y) <float s = {0.02}, uint8 z = {128}, float t = {0.05}, "
         "uint8 k = {3}" +
         constants + "> { q = QuantizeLinear (x, s, z) " + body + " }";
}

TEST_CASE("qoperator: each channel's zero point goes along") {
  auto model = parse(between(
      "d = DequantizeLinear (q, s, z) v = DequantizeLinear <axis = 1> (w, ws, wz) "
      "m = MatMul (d, v) p = QuantizeLinear (m, t, k) y = DequantizeLinear (p, t, k)",
      ", uint8[4,2] w = {1, 2, 3, 4, 5, 6, 7, 8}, float[2] ws = {0.1, 0.2}, uint8[2] wz = {3, 4}"));
  REQUIRE(infer_graph(model->graph()).ok());
  auto lowered = model->clone();
  CHECK(lower_to_qoperator(*lowered, kOrtCpu).rewritten.at("QLinearMatMul") == 1);
  CHECK(agreement(*model, *lowered) > 40);
}

TEST_CASE("qoperator: u16 codes stay as they are") {
  auto wide = parse(
      "<ir_version: 10, opset_import: [\"\" : 21]> g (float[2,4] x) => (float y) <float s = "
      "{0.02}, uint16 z = {128}> { q = QuantizeLinear (x, s, z) d = DequantizeLinear (q, s, z) "
      "m = Add (d, d) p = QuantizeLinear (m, s, z) y = DequantizeLinear (p, s, z) }");
  REQUIRE(infer_graph(wide->graph()).ok());
  CHECK(lower_to_qoperator(*wide, kOrtCpu).rewritten.empty());
}

TEST_CASE("qoperator: an absent zero point is stated") {
  auto model = parse(
      "<ir_version: 8, opset_import: [\"\" : 13]> g (float[2,4] x) => (float y) <float s = {0.02}> "
      "{ q = QuantizeLinear (x, s) d = DequantizeLinear (q, s) m = Add (d, d) "
      "p = QuantizeLinear (m, s) y = DequantizeLinear (p, s) }");
  REQUIRE(infer_graph(model->graph()).ok());
  CHECK(lower_to_qoperator(*model, kOrtCpu).rewritten.at("QLinearAdd") == 1);
  check_nodes(*model);
}

TEST_CASE("qoperator: QGemm's bias counts in steps of alpha x a_scale x b_scale") {
  auto model = parse(between(
      "y = com.microsoft.QGemm <alpha = 0.5, transB = 1> (q, s, z, w, ws, wz, c)",
      ", int8[2,4] w = {1, 2, 3, 4, 5, -6, 7, 8}, float[2] ws = {0.1, 0.2}, int8[2] wz = {0, 0}, "
      "int32[2] c = {1000, -2000}",
      ", \"com.microsoft\" : 1"));
  const auto raised = raised_from(*model, 80);
  CHECK(census(raised->graph())["Gemm"] == 1);
}

TEST_CASE("qoperator: Where, and a product with a bias, become float operators") {
  auto model = parse(between(
      "c = Greater (x, s) h = com.microsoft.QLinearWhere (c, q, s, z, q, t, k, t, k) "
      "m = com.microsoft.MatMulIntegerToFloat (h, w, t, ws, k, wz, b) y = Identity (m)",
      ", uint8[4,2] w = {1, 2, 3, 4, 5, 6, 7, 8}, float[2] ws = {0.1, 0.2}, uint8[2] wz = {3, 4}, "
      "float[2] b = {0.5, -0.5}",
      ", \"com.microsoft\" : 1"));
  const auto raised = raised_from(*model, 60);
  auto found = census(raised->graph());
  CHECK(found["Where"] == 1);
  CHECK(found["MatMul"] == 1);
  CHECK(found["Add"] == 1);
}

TEST_CASE("qoperator: a vector of scales raises the opset to 13") {
  auto model = parse(
      "<ir_version: 5, opset_import: [\"\" : 10]> g (float[1,2,4,4] x) => (float[1,2,4,4] y) "
      "<float s = {0.02}, uint8 z = {128}, int8[2,2,1,1] w = {1, 2, 3, 4}, float[2] ws = {0.1, "
      "0.2}, int8 wz = {0}> { q = QuantizeLinear (x, s, z) "
      "c = QLinearConv (q, s, z, w, ws, wz, s, z) y = DequantizeLinear (c, s, z) }");
  const auto raised = raised_from(*model, 60);
  CHECK(raised->opset("") == 13);
  // One zero point for all channels became a vector, as the scales are.
  for (const Node& n : raised->graph().nodes())
    if (n.is("DequantizeLinear") && n.input(1).constant()->count() == 2)
      CHECK(n.input(2).constant()->count() == 2);
}

TEST_CASE("qoperator: nodes without a first result stay as they are") {
  auto model = parse(
      "<ir_version: 8, opset_import: [\"\" : 17]> g (float[2,4] x) => (float y) "
      "<float s = {0.1}, uint8 z = {0}> { q = QuantizeLinear (x, s, z) "
      "d = DequantizeLinear (q, s, z) \"\" = Softmax (d) y = Relu (d) }");
  REQUIRE(infer_graph(model->graph()).ok());
  lower_to_qoperator(*model, kOrtCpu);
  CHECK(census(model->graph())["QLinearSoftmax"] == 0);
  model = parse(
      "<ir_version: 8, opset_import: [\"\" : 17, \"com.microsoft\" : 1]> g (uint8[4] x) => "
      "(uint8[4] y) <float s = {0.1}, uint8 z = {0}> { "
      "\"\" = com.microsoft.QLinearAdd (x, s, z, x, s, z, s, z) "
      "\"\" = com.microsoft.QLinearConcat (s, z, x, s, z, x, s, z) "
      "y = com.microsoft.QLinearAdd (x, s, z, x, s, z, s, z) }");
  REQUIRE(infer_graph(model->graph()).ok());
  REQUIRE(raise_to_qdq(*model).ok());
  auto found = census(model->graph());
  CHECK(found["QLinearAdd"] == 1);
  CHECK(found["QLinearConcat"] == 1);
  CHECK(found["Add"] == 1);
}

TEST_CASE("qoperator: values of a body are not those around it that have the same number") {
  auto model = parse(
      "<ir_version: 8, opset_import: [\"\" : 17, \"com.microsoft\" : 1]> "
      "g (uint8[4] a, bool c) => (uint8[4] y) <float sa = {2}, uint8 za = {1}> { "
      "y = If (c) <then_branch = t () => (uint8[4] o) <uint8[4] b = {0, 1, 2, 3}, "
      "float pad = {1}, float sb = {0.25}, uint8 zb = {3}, float sc = {1}, uint8 zc = {0}> { "
      "o = com.microsoft.QLinearAdd (a, sa, za, b, sb, zb, sc, zc) }, "
      "else_branch = e () => (uint8[4] p) { p = Identity (a) }> }");
  REQUIRE(infer_graph(model->graph()).ok());
  REQUIRE(raise_to_qdq(*model).ok());
  for (const Node& n : model->graph().nodes())
    n.for_each_subgraph([&](Graph& g) {
      for (const Node& add : g.nodes())
        if (add.is("Add")) {
          const Node& a = *add.input(0).producer();
          REQUIRE(a.input(0).id() == g.find("b")->id());
          REQUIRE(a.input(1).id() == g.find("sb")->id());
          REQUIRE(a.input(2).id() == g.find("zb")->id());
          CHECK(&add.input(0) != &add.input(1));
        }
    });
}

}  // namespace
}  // namespace onnxtool
