// Probabilities that are all small, and scales that QLinearSoftmax computes with as they are.

#include "quant/softmax_scales.h"

#include <cmath>

#include "tests/quant/small_models.h"

namespace onnxtool {
namespace {

using testing::all_layers;
using testing::numbers;
using testing::Quantized;

// Attention of `keys` rows to one another, without a mask; the scores are of about the given size.
std::string attention(int keys, double score) {
  return "<ir_version: 8, opset_import: [\"\" : 17]> g (float[1," + std::to_string(keys) +
         ",8] x) => (float y) <float[8,8] wq = {" + numbers(64, score) + "}, float[8,8] wv = {" +
         numbers(64) + "}, float[8] bv = {1, 2, -1, -2, 1, 2, -1, -2}> { q = MatMul (x, wq) " +
         "v = MatMul (x, wv) b = Add (v, bv) t = Transpose <perm = [0, 2, 1]> (x) " +
         "s = MatMul (q, t) p = Softmax <axis = -1> (s) y = MatMul (p, b) }";
}

// Scale and zero point behind the Softmax.
std::pair<float, int> behind_softmax(const Quantized& q) {
  for (const Node& n : q.output.model->graph().nodes())
    if (n.is("Softmax")) {
      const Node& codes = *n.output(0).uses()[0].user;
      return {codes.input(1).constant()->values<float>()[0],
              static_cast<int>(codes.input(2).constant()->to_doubles()[0])};
    }
  return {0, 0};
}

TEST_CASE("quantized: probabilities of long rows, none of which reaches 1/512, keep their values") {
  const Quantized q = testing::quantize(attention(700, 0.01));
  CHECK(q.sqnr_db > 30);
  CHECK(behind_softmax(q).first < 1.0F / 700);
  CHECK(q.count("Softmax") == 1);
}

TEST_CASE("quantized: nearly even rows get scales whose products stay finite in the kernel") {
  struct Case {
    const char* shape;
    const char* data;  // of the Conv
    float entries;     // that are known
  };
  for (const Case& c : {Case{"[1,1,8,4]", "d = Identity (x)", 4},
                        {"[1,1,8,300]", "d = Identity (x)", 300},
                        {"[1,1,8,4]", "d = Compress <axis = 3> (x, all)", 2}}) {
    INFO(std::string(c.data));
    const Quantized q = testing::quantize(
        std::string("<ir_version: 8, opset_import: [\"\" : 17]> g (float") + c.shape +
        " x) => (float y) <float[1,1,1,1] w = {0.001}, float[1,1,1,1] v = {1.5}, "
        "bool[4] all = {1, 1, 1, 1}> { " +
        c.data + " c = Conv (d, w) p = Softmax <axis = -1> (c) y = Conv (p, v) }");
    CHECK(1 / behind_softmax(q).first <= 148 * c.entries);
    CHECK(1 / behind_softmax(q).first > 120 * c.entries);
  }
}

TEST_CASE(
    "quantized: a Softmax over rows of open length stays in float, where fine codes are safe") {
  const auto model = [](const std::string& length) {
    return "<ir_version: 8, opset_import: [\"\" : 17]> g (float[1,400,8] x) => (float y) "
           "<float[8,8] wv = {" +
           numbers(64) + "}, bool[400] all = {" +
           [] {
             std::string ones = "1";
             for (int i = 1; i < 400; ++i) ones += ", 1";
             return ones;
           }() +
           "}, float small = {0.01}> { r = " + length +
           " v = MatMul (r, wv) t = Transpose <perm = [0, 2, 1]> (r) a = Mul (t, small) "
           "s = MatMul (r, a) p = Softmax <axis = -1> (s) y = MatMul (p, v) }";
  };
  const Quantized fixed = testing::quantize(model("Identity (x)"));
  const Quantized open = testing::quantize(model("Compress <axis = 1> (x, all)"));
  const auto& made_of = [](const Quantized& q) { return q.output.emitted.predicted; };
  CHECK(made_of(fixed).integer_operators.contains("QLinearSoftmax"));
  CHECK_FALSE(made_of(open).integer_operators.contains("QLinearSoftmax"));
  CHECK(open.sqnr_db > 30);
  CHECK(open.sqnr_db > fixed.sqnr_db - 3);
}

TEST_CASE("quantized: before opset 13 a row of Softmax has all axes from its own on") {
  const Quantized q = testing::quantize(
      "<ir_version: 7, opset_import: [\"\" : 11]> g (float[1,1,8,4] x) => (float y) "
      "<float[1,1,1,1] w = {0.001}, float[1,1,1,1] v = {1.5}> "
      "{ c = Conv (x, w) p = Softmax <axis = 2> (c) y = Conv (p, v) }");
  CHECK(1 / behind_softmax(q).first > 140 * 32);
}

TEST_CASE("quantized: scales behind Softmax are reciprocals that the kernel does not round off") {
  for (int keys = 2; keys < 40; ++keys) {
    INFO(keys);
    const auto [scale, zero_point] = behind_softmax(testing::quantize(attention(keys, 0.1)));
    const float n = std::floor(1 / scale);
    CHECK(n >= 255);
    CHECK(std::abs(n * scale - 1) < 2e-7F);
    CHECK(zero_point == 0);
  }
}

TEST_CASE(
    "quantized: s8 codes behind Softmax reach 1, since beyond the last one they wrap around") {
  QuantizeOptions options = all_layers();
  options.target = find_target("ort-arm64");
  options.activation_type = DataType::kInt8;
  const auto [scale, zero_point] = behind_softmax(testing::quantize(attention(40, 0.1), options));
  CHECK(zero_point == -128);
  CHECK(std::floor(1 / scale) == 255);
}

TEST_CASE("quantized: ort-compat takes probabilities to be in [0, 1], as onnxruntime does") {
  QuantizeOptions options = all_layers();
  options.ort_compat = true;
  CHECK(behind_softmax(testing::quantize(attention(40, 0.1), options)).first == 1.0F / 255);
}

}  // namespace
}  // namespace onnxtool
