// Operators of old files and region pooling; LSTM with 8-bit weights against LSTM.
#include <cmath>

#include "tests/kernels/one_node.h"

namespace onnxtool::testing {
namespace {

using Doubles = std::vector<double>;

Tensor floats(Dims dims, std::vector<float> values) {
  return Tensor::from<float>(std::move(dims), values);
}

}  // namespace

TEST_CASE("operators that the standard dropped still run") {
  const Tensor x = floats({1, 2, 1, 2}, {1, 2, 3, 4});
  OneNode affine{
      .op = "Affine", .opset = 7, .inputs = {x}, .attributes = {{"alpha", 2.0f}, {"beta", 1.0f}}};
  CHECK(doubles<float>(run_node(affine)[0]) == Doubles{3, 5, 7, 9});
  OneNode scaler{.op = "ImageScaler",
                 .opset = 7,
                 .inputs = {x},
                 .attributes = {{"scale", 2.0f}, {"bias", std::string("none")}}};
  CHECK(mentions(error_of(scaler), "bias 0 values"));
  OneNode crop{
      .op = "Crop", .opset = 7, .inputs = {x}, .attributes = {{"border", Dims{1, 0, 0, 0}}}};
  CHECK(doubles<float>(run_node(crop)[0]) == Doubles{2, 4});
  crop.attributes[0].second = Dims{3, 0, 0, 0};
  CHECK(mentions(error_of(crop), "do not fit an input of shape [1, 2, 1, 2]"));
  OneNode softplus{.op = "ParametricSoftplus",
                   .opset = 7,
                   .inputs = {floats({2}, {0, -std::numeric_limits<float>::infinity()})}};
  const auto y = doubles<float>(run_node(softplus)[0]);
  CHECK(std::abs(y[0] - std::log(2.0)) < 1e-7);
  CHECK(y[1] == 0);
}

TEST_CASE("regions are pooled by whole elements") {
  OneNode node{.op = "MaxRoiPool",
               .inputs = {floats({1, 1, 2, 3}, {1, 2, 3, 4, 5, 6}),
                          floats({2, 5}, {0, 0, 0, 1, 1, 0, 9, 9, 9, 9})},
               .attributes = {{"pooled_shape", Dims{1, 2}}}};
  CHECK(doubles<float>(run_node(node)[0]) == Doubles{4, 5, 0, 0});
  node.inputs[1] = floats({1, 5}, {1, 0, 0, 1, 1});
  CHECK(mentions(error_of(node),
                 "region 0 has 1.000000 where a sample or coordinate of the input belongs"));
}

TEST_CASE("an LSTM with 8-bit weights is within a few steps of the one in float") {
  Values values(17);
  const int64_t hidden = 6, input = 5;
  const Tensor w = values.integers<int8_t>({1, input, 4 * hidden}),
               r = values.integers<int8_t>({1, hidden, 4 * hidden});
  const auto transposed = [&](const Tensor& t, int64_t rows) {
    const auto codes = doubles<int8_t>(t);
    std::vector<float> out;
    for (int64_t c = 0; c < 4 * hidden; ++c)
      for (int64_t i = 0; i < rows; ++i)
        out.push_back(static_cast<float>(codes[static_cast<size_t>(i * 4 * hidden + c)]) * 0.005f);
    return floats({1, 4 * hidden, rows}, out);
  };
  const Tensor x = values.normal({7, 2, input}), bias = values.normal({1, 8 * hidden});
  const Tensor lengths = Tensor::from<int32_t>({2}, std::vector<int32_t>{7, 4});
  const Tensor scale = floats({1}, {0.005f}),
               zero = Tensor::from<int8_t>({1}, std::vector<int8_t>{0});
  OneNode standard{.op = "LSTM",
                   .opset = 14,
                   .inputs = {x, transposed(w, input), transposed(r, hidden), bias, lengths},
                   .attributes = {{"hidden_size", hidden}, {"direction", std::string("reverse")}},
                   .outputs = 3};
  OneNode node{
      .op = "DynamicQuantizeLSTM",
      .opset = 1,
      .inputs = {x, w, r, bias, lengths, Tensor(), Tensor(), Tensor(), scale, zero, scale, zero},
      .attributes = standard.attributes,
      .outputs = 3,
      .domain = "com.microsoft"};
  const auto expected = run_node(standard), y = run_node(node);
  for (size_t i = 0; i < 3; ++i) {
    const auto a = doubles<float>(y[i]), e = doubles<float>(expected[i]);
    REQUIRE(a.size() == e.size());
    for (size_t j = 0; j < a.size(); ++j)
      CHECK(std::abs(a[j] - e[j]) < 0.03);  // x spans 5 in 255 steps
  }
  node.inputs[8] = floats({3}, {1, 1, 1});
  CHECK(mentions(error_of(node), "expected one for each direction or column"));
  node.inputs[4] = Tensor::from<int32_t>({2}, std::vector<int32_t>{8, 4});
  node.inputs[8] = scale;
  CHECK(mentions(error_of(node), "sequence_lens has 8, expected at most 7"));
}

}  // namespace onnxtool::testing
