// What a model goes through before it is quantized.

#include "quant/prepare.h"

#include <set>

#include "tests/quant/small_models.h"

namespace onnxtool {
namespace {

using testing::all_layers;
using testing::decide;
using testing::numbers;
using testing::parse;
using testing::quantize;

Preparation prepared(Model& model, const QuantizeOptions& options = all_layers()) {
  auto p = prepare_model(model, options);
  REQUIRE_MESSAGE(p.ok(), (p.ok() ? "" : p.error().message));
  return *std::move(p);
}

TEST_CASE("preparation: older opsets are raised to 13 for per-channel scales, to 10 at least") {
  for (const int opset : {7, 8, 9, 10, 11, 12, 13, 17}) {
    CAPTURE(opset);
    const std::string text = "<ir_version: 4, opset_import: [\"\" : " + std::to_string(opset) +
                             "]> g (float[1,2,4,4] x) => (float y) <float[2,2,1,1] w = {1.0, -0.5, "
                             "0.25, 2.0}> { c = Conv (x, w) r = Relu (c) f = Flatten (r) "
                             "y = Softmax <axis = 1> (f) }";
    const auto q = quantize(text);
    CHECK(q.quantizer.preparation().opset_before == opset);
    CHECK(q.output.model->opset("") == std::max(opset, 13));
    CHECK(q.sqnr_db > 30);
    QuantizeOptions options = all_layers();
    options.no_opset_change = true;
    auto kept = parse(text);
    const auto p = prepare_model(*kept, options);
    CHECK(p.ok() == (opset >= 10));
    if (p.ok()) CHECK(kept->opset("") == opset);
    options = all_layers();
    options.per_channel = false;
    CHECK(quantize(text, options).output.model->opset("") == std::max(opset, 10));
  }
}

TEST_CASE("preparation: initializers among the inputs of IR 3 become constants") {
  auto model = parse(
      "<ir_version: 3, opset_import: [\"\" : 9]> g (float[2,2] x, float[2,2] w) => (float y) "
      "<float[2,2] w = {1.0, 2.0, 3.0, 4.0}> { y = MatMul (x, w) }");
  const Preparation p = prepared(*model);
  CHECK(p.ir_before == 3);
  CHECK(p.ir_after >= 4);
  REQUIRE(model->graph().inputs().size() == 1);
  CHECK(model->graph().inputs()[0]->name() == "x");
  CHECK(!p.notes.empty());
}

// x [1,2,4,4] through two convolutions with `between`, which makes t of c.
std::string two_convolutions(const std::string& between) {
  return "<ir_version: 8, opset_import: [\"\" : 13]> g (float[1,2,4,4] x) => (float y) "
         "<float[2,2,1,1] w = {1.0, -0.5, 0.25, 2.0}, float half = {0.5}, float[2,1,1] row = {0.5, "
         "0.25}> { c = Conv (x, w) " +
         between + " y = Conv (t, w) }";
}

TEST_CASE("preparation: idle operators do not part layers from what they fuse with") {
  const auto d = decide(two_convolutions("k = Cast <to = 1> (c) r = Relu (k) t = Relu (r)"));
  CHECK(d.at("c").kernel == "QLinearConv");
  CHECK(d.at("t").kernel == "absorbed");
  CHECK(!d.contains("k"));
  CHECK(!d.contains("r"));
}

TEST_CASE("preparation: what stands behind layers with shared constants is folded") {
  std::string values;
  for (int i = 0; i < 64; ++i) values += (i ? ", " : "") + std::to_string(0.25 + i % 5);
  const std::string constants = "float[64,1,1] bias = {" + values + "}, float[64] k = {" + values +
                                "}, float[64,64,1,1] w = {" + numbers(64 * 64, 0.1) + "}";
  const auto model = [&](const std::string& nodes) {
    return "<ir_version: 8, opset_import: [\"\" : 13]> g (float[1,64,4,4] x) => (float y) <" +
           constants + "> { " + nodes + " }";
  };
  const auto sums = decide(
      model("a = Conv (x, w) b = Add (a, bias) c = Conv (b, w) d = Add (c, bias) y = Conv (d, w)"));
  CHECK(!sums.contains("b"));
  CHECK(!sums.contains("d"));
  // Equal parameters make equal weights, which are stored once.
  const std::string levels =
      "n = MaxPool <kernel_shape = [2, 2]> (x) a = Conv (x, w) b = BatchNormalization (a, k, k, k, "
      "k) c = Conv (n, w) d = BatchNormalization (c, k, k, k, k) e = GlobalAveragePool (b) "
      "f = GlobalAveragePool (d) y = Add (e, f)";
  auto quantizer = Quantizer::create(parse(model(levels)), all_layers());
  REQUIRE(quantizer.ok());
  std::set<const Value*> weights;
  for (const Node& n : quantizer->prepared().graph().nodes()) {
    CHECK(!n.is("BatchNormalization"));
    if (n.is("Conv")) weights.insert(&n.input(1));
  }
  CHECK(weights.size() == 1);
}

TEST_CASE("preparation: ort-compat leaves what onnxruntime's own preparation leaves") {
  QuantizeOptions compat = all_layers();
  compat.ort_compat = true;
  for (const char* between : {"t = Add (c, half)", "t = Sub (c, half)", "t = Div (c, half)"}) {
    CHECK(!decide(two_convolutions(between)).contains("t"));
    CHECK(decide(two_convolutions(between), compat).contains("t"));
  }
}

TEST_CASE("preparation: weights in Constant nodes are weights") {
  const auto d = decide(
      "<ir_version: 8, opset_import: [\"\" : 13]> g (float[2,2] x) => (float y) "
      "{ w = Constant <value = float[2,2] {1.0, 2.0, 3.0, 4.0}> () y = MatMul (x, w) }");
  CHECK(d.at("y").kernel == "MatMulIntegerToFloat");
}

TEST_CASE("preparation: a weight that is moved before use is stored as it is used") {
  // Read by Gather as well, so folding it makes the float model larger.
  const auto q = quantize(
      "<ir_version: 8, opset_import: [\"\" : 13]> g (int64[3] ids) => (float y) <float[4,40] table "
      "= {" +
      numbers(160) +
      "}> { e = Gather (table, ids) t = Transpose <perm = [1, 0]> (table) "
      "y = MatMul (e, t) }");
  CHECK(q.count("Transpose") == 0);
  const Value* table = q.output.model->graph().find("t_quantized");
  REQUIRE(table);
  CHECK(table->constant()->dims() == std::vector<int64_t>{40, 4});
  CHECK(q.sqnr_db > 30);
}

TEST_CASE("preparation: MatMul and its bias are one Gemm where that runs on integers") {
  const std::string constants =
      " <float[4,4] w = {" + numbers(16) + "}, float[4] b = {1.0, 2.0, 3.0, 4.0}> ";
  const std::string body = "{ m = MatMul (x, w) y = Add (m, b) }";
  const std::string flat_text =
      "<ir_version: 8, opset_import: [\"\" : 13]> g (float[3,4] x) => (float y)" + constants + body;
  const auto flat = quantize(flat_text);
  CHECK(flat.count("Gemm") == 1);
  CHECK(flat.count("Reshape") == 0);
  const std::string deep_text =
      "<ir_version: 8, opset_import: [\"\" : 13]> g (float[2,3,4] x) => (float y)" + constants +
      body;
  const auto deep = quantize(deep_text);
  CHECK(deep.count("Gemm") == 1);
  CHECK(deep.count("Reshape") == 2);
  CHECK(deep.sqnr_db > 35);
  // Selections mean the nodes that the user sees.
  for (const std::string& text : {flat_text, deep_text}) {
    QuantizeOptions selected = all_layers();
    selected.include = *Selection::parse({"op:MatMul"});
    CHECK(quantize(text, selected).count("Gemm") == 1);
    selected = all_layers();
    selected.exclude = *Selection::parse({"op:Gemm"});
    CHECK(quantize(text, selected).output.emitted.predicted.integer_operators.contains("QGemm"));
    // The sum in float, and the product not: a Sum is what onnxruntime does not join with it.
    selected.exclude = *Selection::parse({"op:Add"});
    const auto apart = quantize(text, selected);
    CHECK(apart.count("Gemm") == 0);
    CHECK(apart.count("Sum") == 1);
    CHECK(apart.output.emitted.predicted.integer_operators ==
          std::map<std::string, int>{{"MatMulIntegerToFloat", 1}});
  }
  // In float the pair stays what runtimes look for.
  QuantizeOptions options = all_layers();
  options.include = {};
  auto small = Quantizer::create(
      parse("<ir_version: 8, opset_import: [\"\" : 13]> g (float[1,256,4] x, float[300,300] z) => "
            "(float y, float u) <float[4,4] w = {" +
            numbers(16) +
            "}, float[4] b = {1.0, 2.0, 3.0, 4.0}, "
            "float[300,300] v = {" +
            numbers(90000) +
            "}> "
            "{ m = MatMul (x, w) y = Add (m, b) u = MatMul (z, v) }"),
      options);
  REQUIRE_MESSAGE(small.ok(), (small.ok() ? "" : small.error().message));
  int products = 0;
  for (const Node& n : small->prepared().graph().nodes()) products += n.is("MatMul");
  CHECK(products == 2);
}

TEST_CASE("preparation: equal nodes become one, also where nobody named them") {
  const auto q = quantize(
      "<ir_version: 8, opset_import: [\"\" : 13]> g (float[2,2] x) => (float y) "
      "<float[2,2] w = {1.0, -2.0, 3.0, 4.0}> { a = Relu (x) b = Relu (x) c = MatMul (a, w) "
      "d = MatMul (b, w) s = Add (c, d) y = MatMul (s, w) }");
  CHECK(q.count("MatMul") == 2);
}

TEST_CASE(
    "preparation: layers in local functions are quantized, each call with ranges of its own") {
  const std::string head =
      "<ir_version: 8, opset_import: [\"\" : 13, \"local\" : 1]> g (float[2,8] x) => (float y) "
      "<float[8,8] w = {" +
      numbers(64) + "}, float[8,8] v = {" + numbers(64, 20) + "}>";
  const std::string calls = "{ p = local.layer (x, w) q = local.layer (p, v) y = Exp (q) }";
  const std::string body =
      " <domain: \"local\", opset_import: [\"\" : 13]> layer (a, b) => (c) { m = MatMul (a, b) "
      "c = Tanh (m) }";
  const auto q = quantize(head + calls + body);
  CHECK(q.output.model->functions.empty());
  int integer = 0;
  for (const NodeDecision& d : q.output.decisions) integer += d.integer;
  CHECK(integer == 2);
  CHECK(q.count("QuantizeLinear") == 2);
  CHECK(q.sqnr_db > 30);
  // Functions without layers stay functions.
  auto kept = parse(head + "{ p = local.gate (x) y = MatMul (p, w) }" +
                    " <domain: \"local\", opset_import: [\"\" : 13]> gate (a) => (c) "
                    "{ m = Sigmoid (a) c = Mul (a, m) }");
  prepared(*kept);
  CHECK(kept->functions.size() == 1);
}

TEST_CASE(
    "preparation: alpha and beta of a Gemm go into its constants, so that it runs on integers") {
  const std::string text =
      "<ir_version: 8, opset_import: [\"\" : 13]> g (float[4,8] x) => (float y) <float[8,8] w = {" +
      numbers(64) + "}, float[8] b = {" + numbers(8) +
      "}> { h = Gemm <alpha = 2.0, beta = 0.5> (x, w, b) y = Gemm <alpha = 2.0, beta = 3.0> (h, w) "
      "}";
  for (const auto& [name, decided] : decide(text)) CHECK(decided.kernel == "QGemm");
  CHECK(quantize(text).sqnr_db > 30);
  auto model = parse(text);
  prepared(*model);
  std::set<const Value*> weights;
  for (const Node& n : model->graph().nodes()) {
    CHECK(!n.attribute("alpha"));
    CHECK(!n.attribute("beta"));
    weights.insert(&n.input(1));
  }
  CHECK(weights.size() == 1);  // shared as before
  // What the graph computes, or what leaves the range, keeps its factor.
  model = parse(
      "<ir_version: 8, opset_import: [\"\" : 13]> g (float[2,2] x, float[2,2] v) => (float y) "
      "<float[2,2] w = {3e38, 2.0, 3.0, 4.0}> { h = Gemm <alpha = 2.0> (x, w) "
      "y = Gemm <alpha = 2.0> (h, v) }");
  prepared(*model);
  for (const Node& n : model->graph().nodes()) CHECK(n.attr<float>("alpha", 1) == 2);
}

// What the preparation leaves of a graph, in order: operators with what they make.
std::vector<std::string> in_order(const std::string& text) {
  auto model = parse(text);
  prepared(*model);
  std::vector<std::string> out;
  for (const Node& n : model->graph().nodes())
    out.push_back(n.op_type() + " " + n.output(0).name());
  return out;
}

TEST_CASE("preparation: activations stand behind the layers that absorb them") {
  using Nodes = std::vector<std::string>;
  const std::string constants =
      "float low = {0.0}, float high = {6.0}, int64[1] first = {0}, "
      "int64[3] flat = {1, 2, 16}, int64[4] square = {1, 2, 4, 4}";
  const auto of = [&](const std::string& body) {
    return in_order(
        "<ir_version: 8, opset_import: [\"\" : 13]> g (float[1,2,4,4] x, float[] bound) => (float "
        "y) "
        "<float[2,2,1,1] w = {1.0, -0.5, 0.25, 2.0}, " +
        constants + "> { c = Conv (x, w) " + body + " }");
  };
  CHECK(of("s = Reshape (c, flat) r = Relu (s) t = Reshape (r, square) y = Conv (t, w)") ==
        Nodes{"Conv c", "Relu r_1", "Reshape r", "Reshape t", "Conv y"});
  CHECK(of("s = Squeeze (c, first) p = Transpose <perm = [1, 0, 2]> (s) r = Clip (p, low, high) "
           "y = Tanh (r)") == Nodes{"Conv c", "Clip r_1", "Squeeze s", "Transpose r", "Tanh y"});
  // The graph output keeps its name.
  CHECK(of("s = Squeeze (c, first) y = Relu (s)") == Nodes{"Conv c", "Relu y_1", "Squeeze y"});
  CHECK(of("m = MaxPool <kernel_shape = [2, 2]> (c) r = Relu (m) y = Conv (r, w)") ==
        Nodes{"Conv c", "Relu r_1", "MaxPool r", "Conv y"});
  // Something else reads what is between, bounds are computed, or nothing is there that absorbs.
  const char* stays[] = {
      "s = Squeeze (c, first) r = Relu (s) y = Mul (r, s)",
      "s = Squeeze (c, first) r = Relu (s) u = Unsqueeze (r, first) y = Mul (u, c)",
      "s = Squeeze (c, first) r = Clip (s, bound) y = Tanh (r)",
      "t = Sin (c) s = Squeeze (t, first) r = Relu (s) y = Exp (r)",
      "t = Tanh (c) s = Squeeze (t, first) r = Relu (s) y = Exp (r)",
      // No range that holds 0 expresses it.
      "s = Squeeze (c, first) r = Clip (s, high, high) y = Tanh (r)",
      "a = Add (c, x) m = MaxPool <kernel_shape = [2, 2]> (a) r = Relu (m) y = Conv (r, w)",
      // Windows of nothing but padding, whose largest is the lowest of floats.
      "m = MaxPool <kernel_shape = [2, 2], dilations = [5, 5], pads = [1, 1, 1, 1]> (c) "
      "r = Relu (m) y = Conv (r, w)",
      "m = MaxPool <kernel_shape = [2, 2], pads = [2, 0, 0, 0]> (c) r = Relu (m) y = Conv (r, w)",
  };
  for (const char* body : stays) {
    INFO(std::string(body));
    const Nodes found = of(body);
    const auto at = [&](std::string_view name) {
      return std::ranges::find_if(found, [&](const std::string& n) { return n.ends_with(name); });
    };
    REQUIRE(at(" r") != found.end());
    CHECK(at(" r") > std::min(at(" s"), at(" m")));
  }
}

TEST_CASE("preparation: Transposes around what stands between layers go") {
  // As converters from layouts with channels last write it.
  const auto q = quantize(
      "<ir_version: 8, opset_import: [\"\" : 13]> g (float[1,4,8,8] x) => (float y) "
      "<float[4,4,1,1] w = {" +
      numbers(16) + "}, float[4,4,1,1] v = {" + numbers(16, 0.5) +
      "}> { c = Conv (x, w) ct = Transpose <perm = [0, 2, 3, 1]> (c) r = Relu (ct) "
      "rt = Transpose <perm = [0, 3, 1, 2]> (r) d = Conv (rt, v) "
      "dt = Transpose <perm = [0, 2, 3, 1]> (d) s = Add (dt, r) "
      "st = Transpose <perm = [0, 3, 1, 2]> (s) y = Conv (st, w) }");
  CHECK(q.count("Transpose") == 0);
  const IntegerGraph& g = q.output.emitted.predicted;
  CHECK(g.integer_operators == std::map<std::string, int>{{"QLinearAdd", 1}, {"QLinearConv", 3}});
  CHECK(g.quantize == 1);
  CHECK(g.dequantize == 1);
  CHECK(q.sqnr_db > 30);
}

}  // namespace
}  // namespace onnxtool
