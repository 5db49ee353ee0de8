// Channels rescaled between layers: the float output keeps its bits, and the int8 model does not
// depend on how the model came scaled.

#include "quant/equalize.h"

#include "tests/quant/small_models.h"

namespace onnxtool {
namespace {

using testing::all_layers;
using testing::numbers;
using testing::parse;

constexpr int kChannels = 8;

// x [1, 8, 6, 6] through two convolutions, channel i between them scaled by 2^scale[i].
std::string pair_of_layers(const std::vector<int>& scale,
                           const std::string& between = "r = Relu (c)") {
  std::string first, bias, second;
  const auto value = [](int i) { return ((i * 37 + 11) % 64 - 31.5) / 32; };
  for (int row = 0; row < kChannels; ++row) {
    for (int column = 0; column < kChannels; ++column)
      first +=
          (first.empty() ? "" : ", ") + std::to_string(std::ldexp(value(row * kChannels + column),
                                                                  scale[static_cast<size_t>(row)]));
    bias += (row ? ", " : "") +
            std::to_string(std::ldexp(0.25 * (row % 3), scale[static_cast<size_t>(row)]));
  }
  for (int row = 0; row < kChannels; ++row)
    for (int column = 0; column < kChannels; ++column)
      second += (second.empty() ? "" : ", ") +
                std::to_string(
                    std::ldexp(value(row * 5 + column * 3), -scale[static_cast<size_t>(column)]));
  return "<ir_version: 8, opset_import: [\"\" : 13]> g (float[1,8,6,6] x) => (float y) "
         "<float[8,8,1,1] w = {" +
         first + "}, float[8] b = {" + bias + "}, float[8,8,1,1] v = {" + second +
         "}> { c = Conv (x, w, b) " + between + " y = Conv (r, v) }";
}

double sqnr(const std::string& text, bool equalize, bool per_channel = true) {
  QuantizeOptions options = all_layers();
  options.equalize = equalize;
  options.per_channel = per_channel;
  return testing::quantize(text, options).sqnr_db;
}

TEST_CASE("equalization: channels scaled by powers of two cost at most 1 dB") {
  const std::vector<int> even(kChannels, 0), uneven = {4, -4, 2, -3, 0, 3, -1, -4};
  const double unscaled = sqnr(pair_of_layers(even), true);
  CHECK(unscaled > 30);
  CHECK(std::abs(sqnr(pair_of_layers(uneven), true) - unscaled) < 1);
  // Without it they cost much: the test can tell.
  CHECK(sqnr(pair_of_layers(uneven), false) < unscaled - 6);
}

// The same whatever stands between, and whoever reads it too.
void check_uneven(const std::string& between, const std::string& readers) {
  const std::vector<int> even(kChannels, 0), uneven = {9, -7, 2, -8, 0, 5, -1, -9};
  const auto text = [&](const std::vector<int>& scale) {
    std::string t = pair_of_layers(scale, between);
    const std::string reader = "y = Conv (r, v) }";
    return t.replace(t.rfind(reader), reader.size(), readers + " }");
  };
  CAPTURE(between);
  CAPTURE(readers);
  for (const bool per_channel : {true, false}) {
    const double unscaled = sqnr(text(even), true, per_channel);
    CHECK(unscaled > 25);
    CHECK(sqnr(text(uneven), true, per_channel) > unscaled - 1);
    CHECK(sqnr(text(uneven), false, per_channel) < unscaled - 10);
  }
}

TEST_CASE("equalization: through several readers, PRelu and Transpose") {
  const std::string relu = "r = Relu (c)", one = "y = Conv (r, v)";
  check_uneven(relu, "p = Conv (r, v) s = Relu (p) q = Conv (r, v) y = Add (q, s)");
  check_uneven(relu, "p = Conv (r, v) t = LeakyRelu (r) q = Conv (t, v) y = Add (q, p)");
  check_uneven(
      "h = Constant <value_floats = [0.5, 0.25]> () n = Constant <value_ints = [1, 8, 1, 1]> () "
      "e = Concat <axis = 0> (h, h, h, h) k = Reshape (e, n) r = PRelu (c, k)",
      one);
  check_uneven(
      "s = Relu (c) t = Transpose <perm = [0, 2, 3, 1]> (s) u = LeakyRelu (t) "
      "r = Transpose <perm = [0, 3, 1, 2]> (u)",
      one);
}

TEST_CASE("equalization: through a Split, of which each layer reads a part") {
  const std::string constants =
      "n = Constant <value_ints = [3, 5]> () "
      "two = Constant <value_ints = [1]> () from = Constant <value_ints = [3]> () "
      "start = Constant <value_ints = [0]> () end = Constant <value_ints = [8]> () "
      "v1 = Slice (v, start, from, two) v2 = Slice (v, from, end, two) ";
  const std::string readers = "f = Conv (a, v1) g = Conv (b2, v2) y = Add (f, g)";
  check_uneven(constants + "s = Relu (c) a, b2 = Split <axis = 1> (s, n) r = Identity (s)",
               readers);
  // Along the rows: every part has all channels.
  check_uneven(
      "k = Constant <value_ints = [2, 4]> () s = Relu (c) a, b2 = Split <axis = 2> (s, k) "
      "r = Identity (s)",
      "f = Conv (a, v) g = Conv (b2, v) y = Concat <axis = 2> (f, g)");
}

TEST_CASE("equalization: not where something between or beside would notice") {
  const std::vector<int> uneven = {9, -7, 2, -8, 0, 5, -1, -9};
  for (const char* between :
       {"r = Relu (c) y2 = Sigmoid (r)", "r = Add (c, x)", "r = Add (x, c)"}) {
    std::string text = pair_of_layers(uneven, between);
    if (text.find("y2") != std::string::npos) text.replace(text.find("y)"), 2, "y, float y2)");
    auto quantizer = Quantizer::create(parse(text), all_layers());
    REQUIRE(quantizer.ok());
    const auto samples = testing::random_samples(quantizer->prepared());
    REQUIRE(quantizer->equalize(*samples, testing::cpu_run()).ok());
    CHECK(quantizer->equalized_pairs() == 0);
  }
}

TEST_CASE("equalization: nor where all rows of a weight share one scale") {
  const std::vector<int> even(kChannels, 0), uneven = {9, -7, 2, -8, 0, 5, -1, -9};
  const double unscaled = sqnr(pair_of_layers(even), true, false);
  CHECK(unscaled > 30);
  CHECK(sqnr(pair_of_layers(uneven), true, false) > unscaled - 1);
  CHECK(sqnr(pair_of_layers(uneven), false, false) < unscaled - 20);
  // Three layers, the middle one between two that are scaled: they settle together.
  const auto chain = [](const std::vector<int>& a, const std::vector<int>& b) {
    std::string first, middle, last;
    const auto add = [](std::string& list, int i, int exponent) {
      list += (list.empty() ? "" : ", ") +
              std::to_string(std::ldexp(((i * 37 + 11) % 64 - 31.5) / 32, exponent));
    };
    for (size_t row = 0; row < kChannels; ++row)
      for (size_t column = 0; column < kChannels; ++column) {
        const int i = static_cast<int>(row * kChannels + column);
        add(first, i, a[row]);
        add(middle, i * 5 + 3, b[row] - a[column]);
        add(last, i * 3 + 1, -b[column]);
      }
    return "<ir_version: 8, opset_import: [\"\" : 13]> g (float[1,8,6,6] x) => (float y) "
           "<float[8,8,1,1] u = {" +
           first + "}, float[8,8,1,1] v = {" + middle + "}, float[8,8,1,1] w = {" + last +
           "}> { c = Conv (x, u) r = Relu (c) d = Conv (r, v) s = Relu (d) y = Conv (s, w) }";
  };
  const double plain = sqnr(chain(even, even), true, false);
  CHECK(sqnr(chain(uneven, {-9, 6, 0, 8, -3, -7, 9, 1}), true, false) > plain - 1);
}

TEST_CASE("equalization: also where the first layer of the two stays in float") {
  const std::vector<int> even(kChannels, 0), uneven = {20, 0, 2, -3, 0, 3, -1, 0};
  const auto first_in_float = [](const std::vector<int>& scale, bool per_channel) {
    QuantizeOptions options = all_layers();
    options.equalize = true;
    options.per_channel = per_channel;
    options.exclude = *Selection::parse({"tensor:c"});
    return testing::quantize(pair_of_layers(scale), options).sqnr_db;
  };
  for (const bool per_channel : {true, false}) {
    CAPTURE(per_channel);
    const double unscaled = first_in_float(even, per_channel);
    CHECK(unscaled > 30);
    CHECK(first_in_float(uneven, per_channel) > unscaled - 1);
  }
}

TEST_CASE("equalization: rows that are nearly nothing are not scaled beyond all numbers") {
  QuantizeOptions options = all_layers();
  options.equalize = true;
  options.per_channel = false;
  const std::string text =
      "<ir_version: 8, opset_import: [\"\" : 13]> g (float[4,4] x) => (float y) "
      "<float[4,3] w = {1, 1e-42, 0.5, -1, 1e-42, 0.25, 0.5, 1e-42, 1, -0.5, 1e-42, 0.75}, "
      "float[3,2] v = {1, -0.5, 0.25, 1, -1, 0.5}> { a = MatMul (x, w) y = MatMul (a, v) }";
  CHECK(testing::quantize(text, options).sqnr_db > 25);
}

TEST_CASE("equalization: no weight becomes subnormal and loses bits by it") {
  QuantizeOptions options = all_layers();
  options.equalize = true;
  // Channel 1 is 2^60 times as large as the others, but for one weight.
  const auto model = parse(
      "<ir_version: 8, opset_import: [\"\" : 13]> g (float[4,4] x) => (float y) "
      "<float[4,3] w = {1, 1.1e18, 0.5, -1, 3.123457e-26, 0.25, 0.5, -0.7e18, 1, -0.5, 0.3e18, "
      "0.75}, float[3,2] v = {1, -0.5, 0.7e-18, 0.9e-18, -1, 0.5}> "
      "{ a = MatMul (x, w) y = MatMul (a, v) }");
  for (const bool per_channel : {true, false}) {
    CAPTURE(per_channel);
    options.per_channel = per_channel;
    const auto samples = testing::random_samples(*model);
    auto quantizer = Quantizer::create(model->clone(), options);
    REQUIRE(quantizer.ok());
    REQUIRE(quantizer->equalize(*samples, testing::cpu_run()).ok());
    CHECK(quantizer->equalized_pairs() == 1);
    for (const char* name : {"w", "v"}) {
      const auto before = model->graph().find(name)->constant()->values<float>(),
                 after = quantizer->prepared().graph().find(name)->constant()->values<float>();
      for (size_t i = 0; i < before.size(); ++i) {
        int exponent;
        CHECK(std::frexp(before[i], &exponent) == std::frexp(after[i], &exponent));
      }
    }
  }
}

TEST_CASE("equalization: small gains are taken where they are asked for") {
  const auto pairs = [&](const std::vector<int>& nearly, bool small) {
    QuantizeOptions options = all_layers();
    options.equalize = true;
    options.equalize_small_gains = small;
    auto model = parse(pair_of_layers(nearly));
    const auto samples = testing::random_samples(*model);
    auto quantizer = Quantizer::create(std::move(model), options);
    REQUIRE(quantizer.ok());
    REQUIRE(quantizer->equalize(*samples, testing::cpu_run()).ok());
    return quantizer->equalized_pairs();
  };
  // Of networks that are nearly even, some gain a little.
  int little = 0;
  for (const int exponent : {-2, -1, 1, 2})
    for (size_t channel = 0; channel < kChannels; ++channel) {
      std::vector<int> nearly(kChannels, 0);
      nearly[channel] = exponent;
      const int much = pairs(nearly, false), any = pairs(nearly, true);
      CHECK(any >= much);
      little += any > much;
    }
  CHECK(little > 0);
}

TEST_CASE(
    "equalization: the float model keeps its bits, and nothing that would notice is crossed") {
  const std::vector<int> uneven = {4, -4, 2, -3, 0, 3, -1, -4};
  QuantizeOptions options = all_layers();
  options.equalize = true;
  const auto pairs = [&](const std::string& between, double* error = nullptr) {
    auto model = parse(pair_of_layers(uneven, between));
    const auto samples = testing::random_samples(*model);
    auto quantizer = Quantizer::create(model->clone(), options);
    REQUIRE(quantizer.ok());
    REQUIRE(quantizer->equalize(*samples, testing::cpu_run()).ok());
    REQUIRE(infer_graph(model->graph()).ok());
    const auto compared = compare_models(model->graph(), quantizer->prepared().graph(), *samples,
                                         testing::cpu_run(), {});
    REQUIRE(compared.ok());
    if (error) *error = compared->outputs[0].second.value(Metric::kMaxAbs).value_or(INFINITY);
    return quantizer->equalized_pairs();
  };
  double error = 1;
  CHECK(pairs("r = Relu (c)", &error) == 1);
  CHECK(error == 0);
  CHECK(pairs("m = MaxPool <kernel_shape = [2, 2]> (c) r = LeakyRelu (m)", &error) == 1);
  CHECK(error == 0);
  CHECK(pairs("r = Sigmoid (c)") == 0);  // not homogeneous
  CHECK(pairs("r = Softmax <axis = 1> (c)") == 0);
  CHECK(pairs("s = Relu (c) r = Add (s, c)") == 0);  // two readers
}

}  // namespace
}  // namespace onnxtool
