// Pooling, resizing and normalization: the formulas written out, and values worked out by hand.
#include <cmath>

#include "tests/kernels/one_node.h"

namespace onnxtool::testing {
namespace {

Tensor row(std::vector<float> values) {
  const auto n = static_cast<int64_t>(values.size());
  return Tensor::from<float>({1, 1, n}, values);
}
std::vector<double> run_row(std::string op, std::vector<float> x, std::vector<Given> attributes,
                            int64_t opset = 17) {
  const std::vector<Tensor> y = run_node({.op = std::move(op),
                                          .opset = opset,
                                          .inputs = {row(std::move(x))},
                                          .attributes = std::move(attributes)});
  return doubles<float>(y[0]);
}
using Doubles = std::vector<double>;

}  // namespace

TEST_CASE("MaxPool: padding never wins, NaN always does") {
  CHECK(run_row("MaxPool", {-3, -1, -2, -5}, {{"kernel_shape", Dims{3}}, {"pads", Dims{1, 1}}}) ==
        Doubles{-1, -1, -1, -2});
  CHECK(run_row("MaxPool", {1, 2, 3, 4, 5}, {{"kernel_shape", Dims{2}}, {"dilations", Dims{3}}}) ==
        Doubles{4, 5});
  CHECK(run_row("MaxPool", {1, 2, 3, 4, 5}, {{"kernel_shape", Dims{2}}, {"strides", Dims{2}}}) ==
        Doubles{2, 4});
  CHECK(run_row("MaxPool", {1, 2, 3, 4, 5},
                {{"kernel_shape", Dims{2}}, {"strides", Dims{2}}, {"ceil_mode", int64_t{1}}}) ==
        Doubles{2, 4, 5});
  // ceil_mode adds no window that would start in the padding at the end.
  CHECK(run_row("MaxPool", {1, 2, 3, 4},
                {{"kernel_shape", Dims{1}},
                 {"strides", Dims{3}},
                 {"pads", Dims{0, 2}},
                 {"ceil_mode", int64_t{1}}}) == Doubles{1, 4});
  const auto nan = run_row("MaxPool", {1, NAN, 3, 4, 5, 6}, {{"kernel_shape", Dims{3}}});
  CHECK(std::isnan(nan[0]));
  CHECK(std::isnan(nan[1]));
  CHECK(nan[2] == 5);
}

TEST_CASE("MaxPool: rows of all widths and strides, with and without indices") {
  uint32_t seed = 1;
  for (const int64_t width : {5, 17, 64, 130})
    for (const int64_t stride : {1, 2, 3}) {
      INFO("width " << width << " stride " << stride);
      Values values(seed++);
      const Tensor x = values.normal({2, 3, 7, width});
      const std::vector<Given> attributes{{"kernel_shape", Dims{3, 3}},
                                          {"strides", Dims{stride, stride}},
                                          {"pads", Dims{1, 1, 1, 1}}};
      const std::vector<Tensor> plain =
          run_node({.op = "MaxPool", .inputs = {x}, .attributes = attributes});
      const std::vector<Tensor> indexed =
          run_node({.op = "MaxPool", .inputs = {x}, .attributes = attributes, .outputs = 2});
      CHECK(same_bits(plain[0], indexed[0]));
      const auto y = indexed[0].values<float>();
      const auto at = indexed[1].values<int64_t>();
      const auto from = x.values<float>();
      bool all = true;
      for (size_t i = 0; i < y.size(); ++i) all = all && from[static_cast<size_t>(at[i])] == y[i];
      CHECK(all);
    }
}

TEST_CASE("AveragePool counts what exists, or the padding too, never what ceil_mode adds") {
  const std::vector<Given> base{{"kernel_shape", Dims{3}}, {"pads", Dims{1, 1}}};
  CHECK(run_row("AveragePool", {3, 6, 9}, base) == Doubles{4.5, 6, 7.5});
  std::vector<Given> counted = base;
  counted.push_back({"count_include_pad", int64_t{1}});
  CHECK(run_row("AveragePool", {3, 6, 9}, counted) == Doubles{3, 6, 5});
  const std::vector<Given> ceil{{"kernel_shape", Dims{3}},
                                {"strides", Dims{2}},
                                {"ceil_mode", int64_t{1}},
                                {"count_include_pad", int64_t{1}}};
  CHECK(run_row("AveragePool", {3, 6, 9, 10}, ceil) == Doubles{6, 9.5});
  CHECK(run_row("AveragePool", {1, 2, 4, 8}, {{"kernel_shape", Dims{2}}, {"dilations", Dims{2}}},
                19) == Doubles{2.5, 5});
  CHECK(run_row("LpPool", {3, 4, 0}, {{"kernel_shape", Dims{2}}}) == Doubles{5, 4});
  CHECK(run_row("LpPool", {-3, 4, 0}, {{"kernel_shape", Dims{2}}, {"p", int64_t{1}}}) ==
        Doubles{7, 4});
  CHECK(run_row("GlobalAveragePool", {1, 2, 3, 10}, {}) == Doubles{4});
  CHECK(run_row("GlobalMaxPool", {1, 20, 3, 10}, {}) == Doubles{20});
}

TEST_CASE("Resize: each coordinate mode, by hand") {
  const auto resize = [](std::vector<float> x, const char* mode, const char* coordinates,
                         Dims sizes, std::vector<Given> more = {}) {
    more.push_back({"mode", std::string(mode)});
    more.push_back({"coordinate_transformation_mode", std::string(coordinates)});
    const Tensor roi = Tensor::vector<float>({0, 0, 0.25f, 1, 1, 0.75f}),
                 n = Tensor::vector<int64_t>({1, 1, sizes[0]});
    const std::vector<Tensor> y = run_node({.op = "Resize",
                                            .opset = 19,
                                            .inputs = {row(std::move(x)), roi, Tensor(), n},
                                            .attributes = more});
    return doubles<float>(y[0]);
  };
  CHECK(resize({1, 2, 3, 4}, "linear", "half_pixel", {2}) == Doubles{1.5, 3.5});
  CHECK(resize({0, 4}, "linear", "half_pixel", {4}) == Doubles{0, 1, 3, 4});
  CHECK(resize({0, 4}, "linear", "asymmetric", {4}) == Doubles{0, 2, 4, 4});
  CHECK(resize({0, 3}, "linear", "align_corners", {4}) == Doubles{0, 1, 2, 3});
  CHECK(resize({1, 5, 9}, "linear", "pytorch_half_pixel", {1}) == Doubles{1});
  CHECK(resize({0, 1, 2, 3, 4}, "linear", "tf_crop_and_resize", {3}) == Doubles{1, 2, 3});
  CHECK(resize({1, 2}, "nearest", "half_pixel", {4}) == Doubles{1, 1, 2, 2});
  CHECK(resize({1, 2, 3}, "nearest", "asymmetric", {6}, {{"nearest_mode", std::string("ceil")}}) ==
        Doubles{1, 2, 2, 3, 3, 3});
  CHECK(resize({1, 2, 3}, "nearest", "asymmetric", {6}, {{"nearest_mode", std::string("floor")}}) ==
        Doubles{1, 1, 2, 2, 3, 3});
  // A cubic through points of a line is that line where it sees no edge.
  CHECK(resize({0, 1, 2, 3, 4, 5}, "cubic", "align_corners", {11})[5] == doctest::Approx(2.5));
  // Antialiasing averages what the plain filter skips.
  CHECK(resize({0, 0, 0, 8, 0, 0, 0, 0}, "linear", "half_pixel", {2}) == Doubles{0, 0});
  CHECK(resize({0, 0, 0, 8, 0, 0, 0, 0}, "linear", "half_pixel", {2},
               {{"antialias", int64_t{1}}})[0] > 1);
}

TEST_CASE("Resize before opset 11, and Upsample, take floor and asymmetric coordinates") {
  const Tensor scales = Tensor::vector<float>({1, 1, 2});
  for (const char* op : {"Upsample", "Resize"}) {
    const int64_t opset = std::string(op) == "Upsample" ? 9 : 10;
    const auto run = [&](const char* mode) {
      return doubles<float>(run_node({.op = op,
                                      .opset = opset,
                                      .inputs = {row({0, 4}), scales},
                                      .attributes = {{"mode", std::string(mode)}}})[0]);
    };
    CHECK(run("nearest") == Doubles{0, 0, 4, 4});
    CHECK(run("linear") == Doubles{0, 2, 4, 4});
  }
}

TEST_CASE("Resize refuses scales and sizes that make no sense") {
  const auto said = [](Tensor scales, Tensor sizes) {
    return error_of({.op = "Resize",
                     .opset = 13,
                     .inputs = {row({1, 2}), Tensor(), std::move(scales), std::move(sizes)}});
  };
  CHECK(mentions(said(Tensor::vector<float>({1, 1, -2}), Tensor()), "is not usable"));
  CHECK(mentions(said(Tensor::vector<float>({1, 1, NAN}), Tensor()), "is not usable"));
  CHECK(mentions(said(Tensor::vector<float>({1, 2}), Tensor()), "scales has 2 values, expected 3"));
  CHECK(mentions(said(Tensor(), Tensor::vector<int64_t>({1, 1, -4})), "sizes is [1, 1, -4]"));
}

TEST_CASE("normalizations") {
  const auto vector = [](float a, float b) { return Tensor::vector<float>({a, b}); };
  const Tensor x = Tensor::from<float>({1, 2, 2}, std::vector<float>{1, 3, 10, 20});
  // (x - mean) / sqrt(var + 0) * scale + bias
  const std::vector<Tensor> batch =
      run_node({.op = "BatchNormalization",
                .inputs = {x, vector(2, 1), vector(0, 5), vector(1, 10), vector(4, 25)},
                .attributes = {{"epsilon", 0.0f}}});
  CHECK(doubles<float>(batch[0]) == Doubles{0, 2, 5, 7});
  // Since opset 15 parameters may have other types than x.
  const auto doubles_of = [](double c, double d) { return Tensor::vector<double>({c, d}); };
  const std::vector<Tensor> mixed =
      run_node({.op = "BatchNormalization",
                .inputs = {x, vector(2, 1), vector(0, 5), doubles_of(1, 10), doubles_of(4, 25)},
                .attributes = {{"epsilon", 0.0f}}});
  CHECK(mixed[0].same_content(batch[0]));
  const std::vector<Tensor> instance = run_node({.op = "InstanceNormalization",
                                                 .inputs = {x, vector(2, 1), vector(0, 5)},
                                                 .attributes = {{"epsilon", 0.0f}}});
  CHECK(doubles<float>(instance[0]) == Doubles{-2, 2, 4, 6});
  // Windows of one channel to the right of each: 1 + 100 and 100.
  const Tensor channels = Tensor::from<float>({1, 2, 1}, std::vector<float>{1, 10});
  const std::vector<Tensor> local = run_node(
      {.op = "LRN",
       .inputs = {channels},
       .attributes = {{"size", int64_t{2}}, {"alpha", 2.0f}, {"beta", 1.0f}, {"bias", 0.0f}}});
  CHECK(doubles<float>(local[0])[0] == doctest::Approx(1.0 / 101));
  CHECK(doubles<float>(local[0])[1] == doctest::Approx(0.1));
}

}  // namespace onnxtool::testing
