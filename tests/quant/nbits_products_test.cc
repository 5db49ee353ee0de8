// Products by dequantized weights as they run: which, and that only x is rounded. The conditions
// are compared with onnxruntime in tests/python/test_nbits_products.py.

#include "quant/nbits_products.h"

#include "quant/weight_only.h"
#include "tests/quant/product_models.h"

namespace onnxtool {
namespace {

struct LoadedProducts {
  int count = 0;
  double sqnr_db = 0;  // against the QDQ form
};

LoadedProducts load_products(const std::string& body, int bits, int64_t block, bool is_signed,
                             int opset = 13) {
  WeightOnlyOptions o;
  o.operators = false;
  o.bits = bits;
  o.block = block;
  o.is_signed = o.symmetric = is_signed;
  const auto made = testing::make_with(testing::product_model(body, opset), o, plan_weight_only,
                                       quantize_weights_only);
  const Model& before = *made.model.model;
  const std::unique_ptr<Model> after = before.clone();
  LoadedProducts l;
  l.count = put_nbits_products(after->graph());
  std::map<std::string, int> ops;
  testing::count_ops(after->graph(), ops);
  CHECK(ops["MatMulNBits"] == l.count);
  CHECK(ops["DequantizeLinear"] == made.ops.at("DequantizeLinear") - l.count);
  for (const Node& n : after->graph().nodes())
    if (Status s = check_node(n); !s.ok()) FAIL(s.error().message);
  const auto source = testing::random_samples(before, 2);
  const auto compared =
      compare_models(before.graph(), after->graph(), *source, testing::cpu_run(), {});
  REQUIRE_MESSAGE(compared.ok(), (compared.ok() ? "" : compared.error().message));
  l.sqnr_db = compared->outputs.begin()->second.value(Metric::kSqnr).value_or(200);
  return l;
}

TEST_CASE("products as onnxruntime loads them: every code keeps its value") {
  for (const int bits : {4, 8})
    for (const int64_t block : {0, 16, 64})
      for (const bool is_signed : {true, false})
        for (const std::string product : {"MatMul (s, w)", "Gemm (s, w)", "Gemm (s, w, b)"}) {
          CAPTURE(bits);
          CAPTURE(block);
          CAPTURE(is_signed);
          CAPTURE(product);
          // Signs have 8 bits.
          const LoadedProducts exact =
              load_products("s = Sign (x) y = " + product, bits, block, is_signed);
          CHECK(exact.count == 1);
          CHECK(exact.sqnr_db > 100);
          const LoadedProducts rounded =
              load_products("s = Neg (x) y = " + product, bits, block, is_signed);
          CHECK(rounded.sqnr_db > 35);
          CHECK(rounded.sqnr_db < 60);
        }
}

TEST_CASE("products as onnxruntime loads them: which it leaves") {
  const std::string turned = "t = Transpose <perm = [1, 0]> (v) y = MatMul (x, t)";
  CHECK(load_products(turned, 8, 0, true, 21).count == 1);
  CHECK(load_products(turned, 8, 0, true, 20).count == 0);
  CHECK(load_products(turned, 8, 0, false, 21).count == 1);
  CHECK(load_products(turned, 8, 0, false, 20).count == 0);
  CHECK(load_products(turned, 8, 32, true, 21).count == 0);
  CHECK(load_products(turned, 4, 0, true, 21).count == 0);
  CHECK(load_products("t = Transpose (v) y = MatMul (x, t)", 8, 0, true, 21).count == 0);
  CHECK(load_products("y = Gemm <transB = 1> (x, v)", 8, 0, true).count == 0);
  CHECK(load_products("y = Gemm <alpha = 0.5> (x, w)", 8, 0, true).count == 0);
}

// `count` elements; text has those of 4 and 2 bits as bytes.
std::string some_codes(const std::string& type, int64_t count) {
  const int bits = type.back() - '0';
  std::string text;
  for (int64_t i = 0; i < (count * bits + 7) / 8; ++i)
    text += (i ? ", " : "") + std::to_string(i * 37 % (bits == 8 ? 100 : 256));
  return "{" + text + "}";
}

// x [2,48] by the weight d, of codes q [48,4], that DequantizeLinear <attributes> (q, inputs)
// makes.
std::unique_ptr<Model> product_by_codes(const std::string& attributes, const std::string& inputs,
                                        const std::string& constants,
                                        const std::string& type = "int8") {
  auto model = testing::parse(
      "<ir_version: 10, opset_import: [\"\" : 25]> g (float[2,48] x) => (float y) <" + type +
      "[48,4] q = " + some_codes(type, 192) + ", " + constants +
      "> { s = Sign (x) d = DequantizeLinear <" + attributes + "> (q, " + inputs +
      ") y = MatMul (s, d) }");
  // What contradicts itself has types only as far as that.
  (void)infer_graph(model->graph());
  return model;
}

TEST_CASE("products as onnxruntime loads them: weights that stood in the file") {
  const std::string channel = "float[4] w = {0.1, 0.2, 0.3, 0.4}";
  const std::string block = "float[3,4] w = {" + testing::numbers(12) + "}";
  const auto exact = [](const std::string& attributes, const std::string& inputs,
                        const std::string& constants, const std::string& type) {
    CAPTURE(type);
    CAPTURE(inputs);
    const auto before = product_by_codes(attributes, inputs, constants, type);
    const auto after = before->clone();
    CHECK(put_nbits_products(after->graph()) == 1);
    const auto source = testing::random_samples(*before, 2);
    const auto compared =
        compare_models(before->graph(), after->graph(), *source, testing::cpu_run(), {});
    REQUIRE_MESSAGE(compared.ok(), (compared.ok() ? "" : compared.error().message));
    CHECK(compared->outputs.begin()->second.value(Metric::kSqnr).value_or(200) > 100);
  };
  for (const std::string type : {"int8", "uint8", "int4", "uint4", "int2", "uint2"}) {
    const std::string zero = ", " + type;
    exact("axis = 1", "w", channel, type);
    exact("axis = 1", "w, z", channel + zero + "[4] z = " + some_codes(type, 4), type);
    exact("axis = 1", "w", "float w = {0.1}", type);
    exact("axis = 1", "w, z", "float w = {0.1}" + zero + " z = {1}", type);
    exact("axis = 0, block_size = 16", "w", block, type);
    exact("axis = 0, block_size = 16", "w, z", block + zero + "[3,4] z = " + some_codes(type, 12),
          type);
  }
}

TEST_CASE("products as onnxruntime loads them: what no MatMulNBits has stays") {
  const auto count = [](const std::string& attributes, const std::string& inputs,
                        const std::string& constants) {
    CAPTURE(attributes);
    return put_nbits_products(product_by_codes(attributes, inputs, constants)->graph());
  };
  const std::string channel = "float[4] w = {0.1, 0.2, 0.3, 0.4}", one = "float[1] w = {0.1}";
  const std::string row = "float[1,4] w = {0.1, 0.2, 0.3, 0.4}";
  for (const std::string size : {"64", "256"})
    CHECK(count("axis = 0, block_size = " + size, "w", row) == 1);
  for (const std::string size : {"512", "1099511627776", "1152921504606846976",
                                 "4611686018427387904", "9223372036854775807"})
    CHECK(count("axis = 0, block_size = " + size, "w", row) == 0);
  CHECK(count("axis = 0, block_size = 20", "w", "float[3,4] w = {" + testing::numbers(12) + "}") ==
        0);
  CHECK(count("axis = -2, block_size = 64", "w", row) == 0);
  CHECK(count("axis = 1", "w", one) == 0);
  CHECK(count("axis = -1", "w", channel) == 0);
  // Files that say less than they should.
  CHECK(count("axis = 0, block_size = 16", "w", row) == 0);
  CHECK(count("axis = 1", "w, z", channel + ", int8[1] z = {0}") == 0);
  CHECK(count("axis = 1", "w, z", channel + ", int8 z = {0}") == 0);
  CHECK(count("axis = 1", "w, z", channel + ", uint8[4] z = {0, 0, 0, 0}") == 0);
  CHECK(count("axis = 0, block_size = 64", "w, z", row + ", int8[4] z = {0, 0, 0, 0}") == 0);
}

TEST_CASE("products as onnxruntime loads them: each constant read once, in branches as well") {
  const auto put = [](const std::string& inputs, const std::string& constants,
                      const std::string& body) {
    CAPTURE(body);
    const auto model = testing::parse("<ir_version: 10, opset_import: [\"\" : 21]> g (" + inputs +
                                      ") => (float y) <int8[2,2] q = {1, 2, 3, 4}, " + constants +
                                      "> { " + body + " }");
    (void)infer_graph(model->graph());
    return put_nbits_products(model->graph());
  };
  const std::string two = "int8[2,2] p = {4, 3, 2, 1}, float v = {0.5}, float w = ";
  const std::string x = "float[2,2] x";
  const std::string product = "d = DequantizeLinear (q, v) h = MatMul (x, d) ";
  CHECK(put(x, two + "{0.25}", product + "e = DequantizeLinear (p, w) y = MatMul (h, e)") == 2);
  CHECK(put(x, two + "{0.5}", product + "e = DequantizeLinear (p, w) y = MatMul (h, e)") == 0);
  CHECK(put(x, two + "{0.5}", product + "e = DequantizeLinear (p, v) y = MatMul (h, e)") == 0);
  CHECK(put(x, two + "{0.25}", product + "e = DequantizeLinear (q, w) y = MatMul (h, e)") == 0);
  CHECK(put(x, "float v = {0.5}", product + "y = MatMul (h, d)") == 0);
  const std::string branches =
      "y = If (c) <then_branch = t () => (float a) <int8[2,2] r = {1, 2, 3, 4}, float u = {0.5}> "
      "{ f = DequantizeLinear (r, u) a = MatMul (x, f) }, else_branch = e () => (float b) "
      "{ g = DequantizeLinear (q, v) b = MatMul (x, g) }>";
  // onnxruntime loads no model whose branch reads codes of the graph around it so.
  CHECK(put("bool c, " + x, "float v = {0.5}", branches) == 1);
}

}  // namespace
}  // namespace onnxtool
