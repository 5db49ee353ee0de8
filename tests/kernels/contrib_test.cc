// Operators of com.microsoft: small cases by hand, attention against the standard's operator.
#include <cmath>
#include <limits>

#include "tests/kernels/one_node.h"

namespace onnxtool::testing {
namespace {

using Doubles = std::vector<double>;

Tensor floats(Dims dims, std::vector<float> values) {
  return Tensor::from<float>(std::move(dims), values);
}
Tensor ints(Dims dims, std::vector<int32_t> values) {
  return Tensor::from<int32_t>(std::move(dims), values);
}
Tensor bytes(Dims dims, std::vector<uint8_t> values) {
  return Tensor::from<uint8_t>(std::move(dims), values);
}
OneNode microsoft(std::string op, std::vector<Tensor> inputs, std::vector<Given> attributes = {},
                  int outputs = 1) {
  return {.op = std::move(op),
          .opset = 1,
          .inputs = std::move(inputs),
          .attributes = std::move(attributes),
          .outputs = outputs,
          .domain = "com.microsoft"};
}
void check_near(const Tensor& actual, const Doubles& expected, double bound = 1e-6) {
  const Doubles values = doubles<float>(actual);
  REQUIRE(values.size() == expected.size());
  for (size_t i = 0; i < values.size(); ++i)
    CHECK_MESSAGE(std::abs(values[i] - expected[i]) <= bound, "element " << i << ": " << values[i]);
}

}  // namespace

TEST_CASE("FusedMatMul takes matrices whose rows stand before the batch") {
  const Tensor left = run_node(
      microsoft("FusedMatMul", {floats({2, 2, 1}, {1, 2, 3, 4}), floats({2, 1, 1}, {10, 100})},
                {{"transBatchA", int64_t{1}}}))[0];
  CHECK(left.dims() == Dims{2, 2, 1});
  check_near(left, {10, 30, 200, 400});
  const Tensor right = run_node(
      microsoft("FusedMatMul", {floats({2, 1, 1}, {10, 100}), floats({1, 2, 2}, {1, 2, 3, 4})},
                {{"transBatchB", int64_t{1}}}))[0];
  CHECK(right.dims() == Dims{2, 1, 2});
  check_near(right, {10, 20, 300, 400});
}

TEST_CASE("a sum with its skip and bias is normalized, and given out") {
  // The sum is (1, 3): mean 2, deviation 1.
  OneNode node = microsoft("SkipLayerNormalization",
                           {floats({1, 1, 2}, {0, 1}), floats({1, 2}, {0.5f, 1}),
                            floats({2}, {2, 2}), floats({2}, {10, 20}), floats({2}, {0.5f, 1})},
                           {}, 4);
  const auto y = run_node(node);
  check_near(y[0], {8, 22});
  check_near(y[1], {2});
  check_near(y[3], {1, 3});
  OneNode rms = microsoft("SkipSimplifiedLayerNormalization",
                          {floats({1, 2}, {1, 7}), floats({1, 2}, {0, 0}), floats({2}, {1, 2})});
  check_near(run_node(rms)[0], {0.2, 2.8});
  node.inputs[1] = floats({3, 2}, std::vector<float>(6));
  CHECK(mentions(error_of(node), "skip has shape [3, 2], which does not fit"));
  node.inputs[1] = floats({1, 2}, {0, 0});
  node.inputs[2] = floats({3}, {1, 1, 1});
  CHECK(mentions(error_of(node), "gamma has shape [3], expected [2]"));
  // A scalar has no rows to go with those of the input, which once divided by their number.
  rms.inputs[0] = floats({2}, {1, 7});
  rms.inputs[1] = floats({}, {0});
  CHECK(mentions(error_of(rms), "skip has shape [], which does not fit"));
}

TEST_CASE("rows without elements have no mean, not even where it is taken as 0") {
  for (const char* op : {"SkipLayerNormalization", "SkipSimplifiedLayerNormalization"}) {
    CAPTURE(op);
    OneNode node = microsoft(op, {floats({2, 0}, {}), floats({2, 0}, {}), floats({0}, {})}, {}, 3);
    const auto y = run_node(node);
    for (const size_t i : {1u, 2u})
      for (const double statistic : doubles<float>(y[i])) CHECK(std::isnan(statistic));
  }
}

TEST_CASE("embeddings are summed and normalized; ids must be in their tables") {
  OneNode node =
      microsoft("EmbedLayerNormalization",
                {ints({1, 2}, {1, 0}), ints({1, 2}, {0, 0}), floats({2, 2}, {0, 4, 1, 2}),
                 floats({2, 2}, {0, 0, 1, 1}), floats({1, 2}, {0, 1}), floats({2}, {1, 1}),
                 floats({2}, {0, 0}), ints({1, 2}, {1, 0})},
                {}, 3);
  const auto y = run_node(node);
  check_near(y[0], {-1, 1, -1, 1});  // of (1, 3) and (1, 6)
  CHECK(doubles<int32_t>(y[1]) == Doubles{1});
  check_near(y[2], {1, 3, 1, 6});
  node.inputs[0] = ints({1, 2}, {1, 2});
  CHECK(mentions(error_of(node), "index 2 is out of range for an extent of 2"));
}

TEST_CASE("QLinearGlobalAveragePool refuses scales that onnxruntime's kernel refuses") {
  OneNode node = microsoft("QLinearGlobalAveragePool",
                           {bytes({1, 1, 2, 2}, {1, 2, 3, 6}), floats({}, {0.5f}), bytes({}, {0}),
                            floats({}, {0.25f}), bytes({}, {1})},
                           {});
  CHECK(run_node(node)[0].to_ints() == std::vector<int64_t>{7});
  node.inputs[3] = floats({}, {0.5f / 1024});
  CHECK(mentions(error_of(node), "is outside [2^-32, 2^8)"));
  node.inputs[3] = floats({}, {0x1p32f});
  CHECK(mentions(error_of(node), "is outside [2^-32, 2^8)"));
}

TEST_CASE("QLinearWhere brings both sides to the scale of the result") {
  OneNode node = microsoft("QLinearWhere",
                           {Tensor::from<bool>({2}, std::span<const bool>(std::array{true, false})),
                            bytes({2}, {5, 9}), floats({}, {1}), bytes({}, {1}), bytes({1}, {3}),
                            floats({}, {2}), bytes({}, {0}), floats({}, {0.5f}), bytes({}, {10})});
  CHECK(doubles<uint8_t>(run_node(node)[0]) == Doubles{18, 22});
}

// What lies half way between two codes, where the order of additions and roundings decides. The
// expectations are what onnxruntime 1.31 computes.
TEST_CASE("products and averages of codes tie as in onnxruntime") {
  const Tensor half = floats({}, {0.5f});
  OneNode product =
      microsoft("QLinearMul", {bytes({10}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}), half, bytes({}, {0}),
                               bytes({1}, {1}), half, bytes({}, {0}), half, bytes({}, {1})});
  CHECK(doubles<uint8_t>(run_node(product)[0]) == Doubles{1, 2, 2, 2, 3, 4, 4, 4, 5, 6});
  OneNode average = microsoft(
      "QLinearAveragePool",
      {bytes({1, 1, 1, 8}, {1, 0, 3, 0, 5, 0, 7, 0}), half, bytes({}, {0}), half, bytes({}, {3})},
      {{"kernel_shape", Dims{1, 2}}, {"strides", Dims{1, 2}}});
  CHECK(doubles<uint8_t>(run_node(average)[0]) == Doubles{4, 4, 6, 6});
  OneNode global =
      microsoft("QLinearGlobalAveragePool",
                {bytes({1, 4, 1, 2}, {20, 6, 40, 2, 100, 14, 150, 28}), floats({}, {0.05f}),
                 bytes({}, {0}), floats({}, {0.1f}), bytes({}, {3})});
  CHECK(doubles<uint8_t>(run_node(global)[0]) == Doubles{9, 13, 31, 47});
}

TEST_CASE("weights of few bits are dequantized block by block") {
  // K = 20 in blocks of 16: the second is partly filled. Row n holds the weights n + 1 and, in its
  // second block, n + 2, minus the zero point 8, times the scales 1 and 2.
  std::vector<uint8_t> b;
  for (const int value : {1, 2, 2, 3}) b.insert(b.end(), 8, static_cast<uint8_t>(value * 17));
  OneNode node = microsoft(
      "MatMulNBits",
      {floats({1, 20}, std::vector<float>(20, 1)), bytes({2, 2, 8}, b), floats({4}, {1, 2, 1, 2})},
      {{"K", int64_t{20}}, {"N", int64_t{2}}, {"bits", int64_t{4}}, {"block_size", int64_t{16}}});
  check_near(run_node(node)[0], {16 * -7 + 4 * 2 * -6, 16 * -6 + 4 * 2 * -5});
  node.inputs.push_back(bytes({2}, {0x21, 0x03}));  // zero points 1, 2 and 3, 0
  check_near(run_node(node)[0], {0, 16 * -1 + 4 * 2 * 3});
  node.inputs[3] = bytes({1}, {0});
  CHECK(mentions(error_of(node), "zero_points are uint8 of shape [1], expected 2 elements"));
  node.inputs.resize(3);
  node.inputs[1] = bytes({2, 1, 8}, std::vector<uint8_t>(16));
  CHECK(mentions(error_of(node), "expected uint8 of [2, 2, 8] and 4"));
  node.attributes[0].second = int64_t{0};
  CHECK(mentions(error_of(node), "K, N, bits and block_size are 0"));
}

TEST_CASE("at accuracy level 4 the left side of few-bit weights is rounded to 8 bits") {
  // Weights 1 of scale 1. The first block's step is 2, the second's 1: 3.1 becomes 4, 0.9 becomes
  // 0.
  std::vector<float> a(32, 0);
  a[0] = 254, a[1] = 3.1f, a[2] = 0.9f, a[16] = -127, a[17] = 3.4f;
  OneNode node = microsoft(
      "MatMulNBits",
      {floats({1, 32}, a), bytes({1, 2, 8}, std::vector<uint8_t>(16, 0x99)), floats({2}, {1, 1})},
      {{"K", int64_t{32}},
       {"N", int64_t{1}},
       {"bits", int64_t{4}},
       {"block_size", int64_t{16}},
       {"accuracy_level", int64_t{4}}});
  check_near(run_node(node)[0], {254 + 4 - 127 + 3});
  node.attributes[4].second = int64_t{1};
  check_near(run_node(node)[0], {254 + 4 - 127 + 3.4f});
  node.attributes[4].second = int64_t{4};
  node.inputs.push_back(floats({2}, {8, 8}));  // such zero points ONNX Runtime multiplies in float
  check_near(run_node(node)[0], {254 + 4 - 127 + 3.4f});
  node.inputs.resize(3);
  node.inputs[0] = floats({1, 32}, std::vector<float>(32, std::nanf("")));
  CHECK(std::isnan(doubles<float>(run_node(node)[0])[0]));
}

TEST_CASE("rows of a block-quantized table are gathered and dequantized") {
  OneNode node = microsoft(
      "GatherBlockQuantized",
      {bytes({2, 2}, {0x21, 0x43, 0x65, 0x87}),
       Tensor::from<int64_t>({1}, std::vector<int64_t>{-1}), floats({2, 2}, {1, 1, 2, 3})},
      {{"block_size", int64_t{2}}});
  check_near(run_node(node)[0], {-6, -4, -3, 0});  // 5, 6, 7, 8 minus 8
  node.inputs.push_back(bytes({2, 1}, {0, 0x75}));
  check_near(run_node(node)[0], {0, 2, 0, 3});
  node.inputs[1] = Tensor::from<int64_t>({1}, std::vector<int64_t>{2});
  CHECK(mentions(error_of(node), "index 2 is out of range"));
}

TEST_CASE("multi-head attention is attention with bias, past and padding") {
  Values values(11);
  const Tensor q = values.normal({2, 3, 8}), k = values.normal({2, 3, 8}),
               v = values.normal({2, 3, 8}), past_k = values.normal({2, 2, 4, 4}),
               past_v = values.normal({2, 2, 4, 4});
  std::vector<float> mask(2 * 7, 0);
  std::vector<int32_t> seen(2 * 7, 1);
  for (const size_t hidden : {3u, 9u}) mask[hidden] = -10000, seen[hidden] = 0;
  OneNode standard{.op = "Attention",
                   .opset = 23,
                   .inputs = {q, k, v, floats({2, 1, 1, 7}, mask), past_k, past_v},
                   .attributes = {{"q_num_heads", int64_t{2}}, {"kv_num_heads", int64_t{2}}},
                   .outputs = 3};
  OneNode node = microsoft("MultiHeadAttention",
                           {q, k, v, Tensor(), ints({2, 7}, seen), Tensor(), past_k, past_v},
                           {{"num_heads", int64_t{2}}}, 3);
  const auto expected = run_node(standard), y = run_node(node);
  for (size_t i = 0; i < 3; ++i) CHECK(same_bits(y[i], expected[i]));
  node.inputs[3] = floats({24}, std::vector<float>(24));  // a bias of zeros
  CHECK(same_bits(run_node(node)[0], expected[0]));
  node.inputs[4] = ints({2, 5}, std::vector<int32_t>(10));
  CHECK(mentions(error_of(node), "the mask has shape [2, 5], expected [2], [2, 7] or [2, 3, 7]"));
  node.attributes[0].second = int64_t{3};
  CHECK(mentions(error_of(node), "does not divide into 3 heads"));
}

TEST_CASE("packed attention projects its input first") {
  Values values(12);
  const Tensor x = values.normal({1, 3, 2}), w = values.normal({2, 12}), bias = values.normal({12});
  // The same by MatMul, then by the standard's operator.
  const auto xs = doubles<float>(x), ws = doubles<float>(w), bs = doubles<float>(bias);
  std::vector<float> parts[3];
  for (size_t part = 0; part < 3; ++part)
    for (size_t r = 0; r < 3; ++r)
      for (size_t c = part * 4; c < part * 4 + 4; ++c)
        parts[part].push_back(
            static_cast<float>(bs[c] + xs[2 * r] * ws[c] + xs[2 * r + 1] * ws[12 + c]));
  OneNode standard{
      .op = "Attention",
      .opset = 23,
      .inputs = {floats({1, 3, 4}, parts[0]), floats({1, 3, 4}, parts[1]),
                 floats({1, 3, 4}, parts[2])},
      .attributes = {
          {"q_num_heads", int64_t{2}}, {"kv_num_heads", int64_t{2}}, {"is_causal", int64_t{1}}}};
  OneNode node = microsoft("Attention", {x, w, bias},
                           {{"num_heads", int64_t{2}}, {"unidirectional", int64_t{1}}});
  check_near(run_node(node)[0], doubles<float>(run_node(standard)[0]), 1e-5);
  node.inputs[1] = values.normal({2, 11});
  CHECK(mentions(error_of(node), "does not divide into 2 heads"));
}

// As onnxruntime 1.31 does: they are another layer's, and come with their bias.
TEST_CASE("a bias is added to the queries alone where keys and values have the heads first") {
  Values values(17);
  const Tensor q = values.normal({1, 3, 8}), k = values.normal({1, 2, 5, 4}),
               v = values.normal({1, 2, 5, 4}), bias = values.normal({24});
  std::vector<float> raised;
  const auto qs = doubles<float>(q), bs = doubles<float>(bias);
  for (size_t i = 0; i < qs.size(); ++i)
    raised.push_back(static_cast<float>(qs[i]) + static_cast<float>(bs[i % 8]));
  OneNode node = microsoft("MultiHeadAttention", {q, k, v, bias}, {{"num_heads", int64_t{2}}}, 3);
  const auto y = run_node(node);
  node.inputs = {floats({1, 3, 8}, raised), k, v};
  const auto expected = run_node(node);
  for (size_t i = 0; i < 3; ++i) CHECK(same_bits(y[i], expected[i]));
  CHECK(same_bits(y[1], k));
}

// As onnxruntime 1.31 computes it; its GroupQueryAttention gives zeros there, as ours does.
TEST_CASE("a bias that hides every key from a query gives NaN, as Softmax does") {
  Values values(16);
  constexpr float kHidden = -std::numeric_limits<float>::infinity();
  const Tensor hiding = floats({1, 1, 2, 2}, {0, 0, kHidden, kHidden}),
               x = values.normal({1, 2, 4});
  const OneNode heads = microsoft("MultiHeadAttention", {x, x, x, Tensor(), Tensor(), hiding},
                                  {{"num_heads", int64_t{2}}});
  const OneNode packed = microsoft(
      "Attention", {x, values.normal({4, 12}), values.normal({12}), Tensor(), Tensor(), hiding},
      {{"num_heads", int64_t{2}}});
  for (const OneNode& node : {heads, packed}) {
    const auto y = doubles<float>(run_node(node)[0]);
    for (size_t i = 0; i < 8; ++i) CHECK(std::isnan(y[i]) == (i >= 4));
  }
}

TEST_CASE("group query attention continues each sample behind its own past") {
  Values values(13);
  const Tensor q = values.normal({1, 2, 16}), k = values.normal({1, 2, 8}),
               v = values.normal({1, 2, 8}), past_k = values.normal({1, 2, 3, 4}),
               past_v = values.normal({1, 2, 3, 4});
  OneNode standard{.op = "Attention",
                   .opset = 23,
                   .inputs = {q, k, v, Tensor(), past_k, past_v},
                   .attributes = {{"q_num_heads", int64_t{4}},
                                  {"kv_num_heads", int64_t{2}},
                                  {"is_causal", int64_t{1}}},
                   .outputs = 3};
  OneNode node =
      microsoft("GroupQueryAttention", {q, k, v, past_k, past_v, ints({1}, {4}), ints({}, {5})},
                {{"num_heads", int64_t{4}}, {"kv_num_heads", int64_t{2}}}, 3);
  const auto expected = run_node(standard), y = run_node(node);
  for (size_t i = 0; i < 3; ++i) CHECK(same_bits(y[i], expected[i]));
  node.inputs[5] = ints({1}, {9});
  CHECK(
      mentions(error_of(node), "sample 0 has 8 rows before 2 new ones, in a cache of 3 of 5 rows"));
  node.inputs[5] = ints({1}, {4});
  node.inputs[4] = values.normal({1, 2, 1, 4});
  CHECK(mentions(error_of(node), "past_key has 3 rows but past_value 1"));
  node.inputs[4] = past_v;
  node.attributes.emplace_back("do_rotary", int64_t{1});
  CHECK(mentions(error_of(node), "input 7 is absent"));
}

}  // namespace onnxtool::testing
