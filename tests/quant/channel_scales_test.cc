// Channels scaled between layers, and the search for scales that suit rounded weights.

#include "quant/channel_scales.h"

#include <random>

#include "quant/weight_only.h"
#include "tests/quant/product_models.h"

namespace onnxtool {
namespace {

using testing::cpu_run;
using testing::numbers;
using testing::parse;
using testing::random_samples;

// x [3, 8] before weights w [8, 8] and [8, 16].
std::string scaled_model(const std::string& body, const std::string& inputs = "float[3,8] x") {
  return "<ir_version: 8, opset_import: [\"\" : 17]> g (" + inputs +
         ") => (float y) <float[8,8] w = {" + numbers(64) + "}, float[8,16] v = {" + numbers(128) +
         "}, float[16,8] vt = {" + numbers(128, 0.5) + "}, float[8] row = {" + numbers(8, 2) +
         "}, float[8] bias = {" + numbers(8) + "}, float two = {2.0}> { " + body + " }";
}

// Scales every group of a model whose products all count. Returns how many Muls it took.
int scale_all(const std::string& body, size_t groups, bool expect_same_nodes) {
  CAPTURE(body);
  const auto before = parse(scaled_model(body));
  REQUIRE(infer_graph(before->graph()).ok());
  const auto model = before->clone();
  const auto found = product_groups(*model, [](const Node&) { return true; });
  REQUIRE(found.size() == groups);
  const std::vector<float> factors = {0.25f, 3, 1, 7.5f, 0.1f, 2, 1.5f, 40};
  for (const ProductGroup& g : found) {
    CHECK(g.depth == 8);
    scale_channels(*model, g, factors);
  }
  REQUIRE(infer_graph(model->graph()).ok());
  CHECK((model->graph().num_nodes() == before->graph().num_nodes()) == expect_same_nodes);
  const auto samples = random_samples(*before, 2);
  const auto compared = compare_models(before->graph(), model->graph(), *samples, cpu_run(), {});
  REQUIRE(compared.ok());
  for (const auto& [name, metrics] : compared->outputs)
    CHECK(metrics.value(Metric::kSqnr).value_or(200) > 120);
  return static_cast<int>(model->graph().num_nodes()) -
         static_cast<int>(before->graph().num_nodes());
}

TEST_CASE("channel scales: what has parameters takes the division, past Relu and addends") {
  for (const std::string body :
       {"a = LayerNormalization (x, row, bias) y = MatMul (a, v)",
        "a = LayerNormalization <axis = 1> (x, row) y = Gemm <transB = 1> (a, vt)",
        "a = Mul (x, row) b = Add (bias, a) y = MatMul (b, v)",
        "a = Div (x, row) b = Sub (a, bias) y = MatMul (b, v)"})
    CHECK(scale_all(body, 1, true) == 0);
  // An input takes a Mul; what the first product gives is divided in its weights.
  CHECK(scale_all("a = Gemm (x, w, bias) b = Relu (a) c = MatMul (b, v) y = Relu (c)", 2, false) ==
        1);
  CHECK(scale_all("a = Gemm <transB = 1, alpha = 0.5, beta = 2.0> (x, w, bias) "
                  "t = Transpose (vt) y = MatMul (a, t)",
                  2, false) == 1);
}

TEST_CASE("channel scales: where others read, or nothing takes it, there is a Mul") {
  CHECK(scale_all("a = LayerNormalization (x, row, bias) b = MatMul (a, w) y = Add (a, b)", 1,
                  false) == 1);
  CHECK(scale_all("a = Sigmoid (x) y = MatMul (a, v)", 1, false) == 1);
  CHECK(scale_all("a = Mul (x, two) y = MatMul (a, v)", 1, false) == 1);
  // The scale is read by two normalizations, of which one stays as it is.
  CHECK(scale_all("a = LayerNormalization (x, row, bias) b = LayerNormalization (a, row, bias) "
                  "y = MatMul (b, v)",
                  1, true) == 0);
  // Weights with other readers are left alone.
  const auto shared =
      parse(scaled_model("p = MatMul (x, w) q = Add (w, w) r = MatMul (p, q) "
                         "s = Sigmoid (x) t = MatMul (s, w) y = Add (r, t)"));
  CHECK(product_groups(*shared, [](const Node&) { return true; }).empty());
}

TEST_CASE(
    "channel scales: rows of before opset 7 lie where their axis says, and stay as they are") {
  const std::string model = "g (float[8,8] x) => (float y) <float[8] row = {" + numbers(8, 2) +
                            "}, float[8,8] w = {" + numbers(64) +
                            "}> { a = Mul <broadcast = 1, axis = 0> (x, row) y = MatMul (a, w) }";
  const auto old = parse("<ir_version: 3, opset_import: [\"\" : 6]> " + model);
  CHECK(product_groups(*old, [](const Node&) { return true; }).empty());
}

std::string random_numbers(int count, uint64_t seed) {
  std::mt19937_64 engine(seed);
  std::normal_distribution<float> draw;
  std::string text;
  for (int i = 0; i < count; ++i) text += (i ? ", " : "") + std::to_string(draw(engine));
  return text;
}

// Channels of very different size, as in language models.
std::string outliers() {
  std::string sizes;
  for (int i = 0; i < 64; ++i) sizes += (i ? ", " : "") + std::string(i % 16 == 3 ? "60.0" : "0.5");
  return "<ir_version: 8, opset_import: [\"\" : 17]> g (float[16,64] x) => (float y) <float[64] "
         "sizes = {" +
         sizes + "}, float[64,32] w = {" + random_numbers(2048, 1) + "}, float[64,16] v = {" +
         random_numbers(1024, 2) +
         "}> { a = Mul (x, sizes) p = MatMul (a, w) q = MatMul (a, v) y = Concat <axis = 1> "
         "(p, q) }";
}

TEST_CASE("awq: large channels are rounded more finely, in both forms and for any thread count") {
  const auto samples = random_samples(*parse(outliers()), 4);
  for (const bool operators : {true, false}) {
    WeightOnlyOptions options;
    options.operators = operators;
    const auto make = [&] {
      return testing::make_with(outliers(), options, plan_weight_only, quantize_weights_only);
    };
    const double plain = make().sqnr_db;
    options.awq = true;
    options.calibration = {samples.get(), cpu_run()};
    const auto scaled = make();
    CHECK(scaled.sqnr_db > plain + 3);
    CHECK(scaled.ops.at("Mul") == 1);  // the one that was there
    REQUIRE(scaled.model.notes.size() == 1);
    CHECK(scaled.model.notes[0].find("1 value") != std::string::npos);
    options.calibration->run.threads = 3;
    CHECK(make().sqnr_db == scaled.sqnr_db);
    options.gptq = true;
    // Codes are chosen for these samples: with channels that have nothing in common, others gain
    // nothing by it, but keep what scaling gained.
    const auto both = make();
    CHECK(both.sqnr_db > plain + 3);
    REQUIRE(both.model.weights.size() == 2);
    for (const QuantizedWeight& w : both.model.weights) CHECK(w.output_db > w.nearest_output_db);
  }
}

TEST_CASE("awq: a value that is always zero is left alone") {
  const std::string model =
      "<ir_version: 8, opset_import: [\"\" : 17]> g (float[4,32] x) => (float y) <float low = "
      "{-100.0}, float[32,16] w = {" +
      random_numbers(512, 1) + "}> { a = Add (x, low) b = Relu (a) y = MatMul (b, w) }";
  const auto samples = random_samples(*parse(model), 2);
  WeightOnlyOptions options;
  options.awq = true;
  options.calibration = {samples.get(), cpu_run()};
  const auto made = testing::make_with(model, options, plan_weight_only, quantize_weights_only);
  CHECK(made.model.weights.size() == 1);
  REQUIRE(made.model.notes.size() == 1);
  CHECK(made.model.notes[0].find("0 values") != std::string::npos);
}

}  // namespace
}  // namespace onnxtool
