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

double sqnr(const std::string& text, bool equalize) {
  QuantizeOptions options = all_layers();
  options.equalize = equalize;
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
