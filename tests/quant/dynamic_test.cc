// Dynamic quantization: what becomes of each operator, and where floats are faster.

#include "quant/dynamic.h"

#include "quant/dynamic_sites.h"
#include "tests/quant/product_models.h"

namespace onnxtool {
namespace {

using testing::numbers;
using testing::parse;
using testing::product_model;

using Made = testing::Made<DynamicModel>;

DynamicOptions all() {
  DynamicOptions o;
  o.include = *Selector::parse({"op:*"});
  return o;
}

Made make(const std::string& text, const DynamicOptions& options = all()) {
  return testing::make_with(text, options, plan_dynamic, quantize_dynamically);
}

TEST_CASE("dynamic: products in every form of Gemm") {
  for (const std::string body :
       {"y = MatMul (x, w)", "y = Gemm (x, w, b)", "y = Gemm <transB = 1> (x, v)",
        "y = Gemm <alpha = 0.5, beta = 2.0> (x, w, b)", "y = Gemm <beta = 0.25> (x, w, c)",
        "t = Transpose (x) y = Gemm <transA = 1, alpha = 3.0> (t, w, b)"}) {
    CAPTURE(body);
    for (const bool is_signed : {true, false})
      for (const bool per_channel : {true, false}) {
        DynamicOptions o = all();
        o.is_signed = is_signed;
        o.per_channel = per_channel;
        const Made m = make(product_model(body), o);
        CHECK(m.ops.at("MatMulInteger") == 1);
        CHECK(m.ops.at("DynamicQuantizeLinear") == 1);
        CHECK(!m.ops.contains("Gemm"));
        CHECK(m.sqnr_db > 35);
      }
  }
}

TEST_CASE("dynamic: weights that stay in float are not copied for what stands behind them") {
  DynamicOptions products;
  products.include = *Selector::parse({"op:MatMul"});
  std::string positive;
  for (int i = 0; i < 64; ++i) positive += (i ? ", " : "") + std::to_string(0.25 + i % 5);
  const Made m = make(
      "<ir_version: 8, opset_import: [\"\" : 13]> g (float[1,64,4,4] x) => (float y) "
      "<float[64,64,1,1] s = {" +
          numbers(4096) + "}, float[64] k = {" + positive + "}, float[64] n = {" + numbers(64) +
          "}, float[4,8] w = {" + numbers(32) +
          "}> { a = Conv (x, s) b = BatchNormalization (a, k, k, n, k) c = Conv (b, s) "
          "d = BatchNormalization (c, n, k, k, k) y = MatMul (d, w) }",
      products);
  int weights = 0;
  for (const Value* v : m.model.model->graph().initializers())
    weights += v->initializer()->rank() == 4;
  CHECK(weights == 1);
}

TEST_CASE("dynamic: opsets below 11 are raised, others stay") {
  for (const int opset : {7, 9, 11, 12, 17}) {
    const Made m = make(product_model("y = Gemm (x, w, b)", opset));
    CHECK(m.model.model->opset("") == std::max(opset, 11));
    CHECK(m.sqnr_db > 35);
  }
  DynamicOptions fixed = all();
  fixed.no_opset_change = true;
  CHECK(!plan_dynamic(parse(product_model("y = Gemm (x, w, b)", 9)), fixed).ok());
}

TEST_CASE("dynamic: products of one tensor quantize it once; a shared weight is kept once") {
  const Made m = make(product_model("p = MatMul (x, w) q = MatMul (x, w) y = Add (p, q)"));
  CHECK(m.ops.at("DynamicQuantizeLinear") == 1);
  const Made two =
      make(product_model("p = MatMul (x, w) q = Gemm <transB = 1> (x, v) y = Add (p, q)"));
  CHECK(two.ops.at("DynamicQuantizeLinear") == 1);
  CHECK(two.ops.at("MatMulInteger") == 2);
  for (const NodeDecision& d : two.model.decisions) CHECK(d.kernel == "MatMulIntegerToFloat");
}

TEST_CASE("dynamic: Conv only where it is named, with a note") {
  const std::string text =
      "<ir_version: 8, opset_import: [\"\" : 13]> g (float[1,3,8,8] x) => (float y) "
      "<float[4,3,3,3] w "
      "= {" +
      numbers(108) + "}, float[4] b = {" + numbers(4) +
      "}> { y = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, w, b) }";
  const Made m = make(text);
  CHECK(m.ops.at("ConvInteger") == 1);
  CHECK(m.sqnr_db > 35);
  CHECK(!m.model.notes.empty());
  const auto without = plan_dynamic(parse(text), {});
  REQUIRE(!without.ok());
  CHECK(without.error().code == ErrorCode::kNegative);
  CHECK(without.error().message.find("--include op:Conv") != std::string::npos);
}

TEST_CASE("dynamic: LSTM with both directions, and what has no kernel") {
  const auto lstm = [](const std::string& attributes, const std::string& more = "") {
    return "<ir_version: 8, opset_import: [\"\" : 14]> g (float[5,1,6] x) => (float y) "
           "<float[2,16,6] w "
           "= {" +
           numbers(192) + "}, float[2,16,4] r = {" + numbers(128) + "}, float[2,32] b = {" +
           numbers(64, 0.1) + "}, float[2,12] p = {" + numbers(24) +
           "}> { y = LSTM <hidden_size = 4, direction = \"bidirectional\"" + attributes +
           "> (x, w, r, b" + more + ") }";
  };
  const Made m = make(lstm(""));
  CHECK(m.ops.at("DynamicQuantizeLSTM") == 1);
  CHECK(m.sqnr_db > 30);
  const auto saturating = [&](const Target& target) {
    DynamicOptions o = all();
    o.target = &target;
    const Made made = make(lstm(""), o);
    int64_t pairs = 0;
    for (const Node& n : made.model.model->graph().nodes())
      for (const int i : {1, 2})
        if (n.is("DynamicQuantizeLSTM", "com.microsoft"))
          pairs += count_saturating_pairs(*pair_order(n, n.input(i).constant()->dims()),
                                          n.input(i).constant()->values<int8_t>());
    return pairs;
  };
  CHECK(saturating(kOrtCpu) > 0);
  CHECK(saturating(kOrtCpuNoVnni) == 0);
  const Made peepholes = make(lstm("", ", , , , p"));
  CHECK(peepholes.ops.at("DynamicQuantizeLSTM") == 1);
  CHECK(peepholes.sqnr_db > 30);
  CHECK(make(lstm(", clip = 0.3", ", , , , p")).sqnr_db > 30);
  const auto coupled = plan_dynamic(parse(lstm(", input_forget = 1")), all());
  REQUIRE(!coupled.ok());
  CHECK(coupled.error().message.find("coupled") != std::string::npos);
  const auto layout = plan_dynamic(parse(lstm(", layout = 1")), all());
  REQUIRE(!layout.ok());
  CHECK(layout.error().message.find("layout") != std::string::npos);
}

TEST_CASE("dynamic: where two products are added in 16 bits, pairs of signed weights keep to 128") {
  const auto largest = [](bool is_signed) {
    DynamicOptions o = all();
    o.target = &kOrtCpuNoVnni;
    o.is_signed = is_signed;
    auto plan = plan_dynamic(parse(product_model("y = MatMul (x, w)")), o);
    REQUIRE(plan.ok());
    REQUIRE(quantize_dynamically(*plan, o).ok());
    int64_t most = 0;
    for (const Value* v : plan->model->graph().initializers())
      if (v->name() == "w_quantized")
        for (const int64_t code : v->constant()->to_ints()) most = std::max(most, std::abs(code));
    for (const Node& n : plan->model->graph().nodes())
      if (n.is("MatMulInteger") && is_signed)
        CHECK(count_saturating_pairs(*pair_order(n, n.input(1).constant()->dims()),
                                     n.input(1).constant()->values<int8_t>()) == 0);
    return most;
  };
  CHECK(largest(true) > 90);
  CHECK(largest(false) == 255);
}

std::string square(const std::string& rows, int size) {
  const std::string n = std::to_string(size);
  return "<ir_version: 8, opset_import: [\"\" : 13]> g (float[" + rows + "," + n +
         "] x) => (float y) <float[" + n + "," + n + "] w = {" + numbers(size * size) +
         "}> { y = MatMul (x, w) }";
}

TEST_CASE("dynamic: floats stay where integers would not be faster") {
  CHECK(!plan_dynamic(parse(square("1", 32)), {}).ok());
  CHECK(!plan_dynamic(parse(square("8", 64)), {}).ok());
  CHECK(plan_dynamic(parse(square("64", 128)), {}).ok());
  CHECK(plan_dynamic(parse(square("N", 256)), {}).ok());
  CHECK(!plan_dynamic(parse(square("N", 64)), {}).ok());
  DynamicOptions o;
  o.input_shapes["x"] = {256, 64};
  CHECK(plan_dynamic(parse(square("N", 64)), o).ok());
}

TEST_CASE("dynamic: tables, Constant nodes and bodies of If") {
  const Made table = make(
      "<ir_version: 8, opset_import: [\"\" : 13]> g (int64[5] i) => (float y) <float[96,64] e = {" +
      numbers(96 * 64) + "}> { y = Gather (e, i) }");
  CHECK(table.ops.at("GatherBlockQuantized") == 1);
  CHECK(table.sqnr_db > 40);
  const Made constant = make(
      "<ir_version: 3, opset_import: [\"\" : 9]> g (float[2,64] x) => (float y) { w = Constant "
      "<value "
      "= float[64,16] {" +
      numbers(1024) + "}> () y = MatMul (x, w) }");
  CHECK(constant.ops.at("MatMulInteger") == 1);
  const Made inside =
      make(product_model("y = If (k) <then_branch = t () => (float[3,32] z) { z = MatMul (x, w) }, "
                         "else_branch = e () => "
                         "(float[3,32] z) { h = Gemm (x, w, b) z = Relu (h) }>",
                         13, "float[3,64] x, bool k"));
  CHECK(inside.ops.at("MatMulInteger") == 2);
}

TEST_CASE("dynamic: unsigned weights of a Conv share one zero point, channels keep their scales") {
  DynamicOptions o = all();
  o.is_signed = false;
  for (const bool per_channel : {true, false}) {
    o.per_channel = per_channel;
    const Made m = make(
        "<ir_version: 8, opset_import: [\"\" : 13]> g (float[1,3,8,8] x) => (float y) "
        "<float[4,3,3,3] w = {" +
            numbers(108) + "}> { y = Conv (x, w) }",
        o);
    CHECK(m.sqnr_db > 35);
    for (const Node& n : m.model.model->graph().nodes()) {
      if (!n.is("ConvInteger")) continue;
      REQUIRE(n.has_input(3));
      CHECK(n.input(3).constant()->count() == 1);
    }
    const Value* scale = m.model.model->graph().find("w_scale");
    REQUIRE(scale);
    CHECK(scale->constant()->count() == (per_channel ? 4 : 1));
  }
}

TEST_CASE("dynamic: products without a result are no sites") {
  const auto model = parse(
      "<ir_version: 8, opset_import: [\"\" : 13]> g (float[3,64] x) => (float y) "
      "<float[64,32] w = {" +
      numbers(2048) +
      "}> { \"\" = MatMul (x, w) \"\" = Gemm (x, w) "
      "y = MatMul (x, w) }");
  REQUIRE(infer_graph(model->graph()).ok());
  const DynamicOptions o = all();
  CHECK(find_dynamic_sites(*model, o).nodes.size() == 1);
}

}  // namespace
}  // namespace onnxtool
