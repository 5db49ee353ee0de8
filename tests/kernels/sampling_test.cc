// Operators that sample, fold and place images: values from their formulas, and inputs that do not
// fit.
#include <cmath>

#include "tests/kernels/one_node.h"

namespace onnxtool::testing {
namespace {

Tensor floats(Dims dims, std::vector<float> values) {
  return Tensor::from<float>(std::move(dims), values);
}
Tensor ints(std::vector<int64_t> values) {
  return Tensor::from<int64_t>({static_cast<int64_t>(values.size())}, values);
}
using Doubles = std::vector<double>;

}  // namespace

TEST_CASE("grid sampling treats NaN and far coordinates as outside") {
  const float nan = std::nanf("");
  OneNode node{
      .op = "GridSample",
      .opset = 20,
      .inputs = {floats({1, 1, 1, 2}, {3, 5}), floats({1, 1, 3, 2}, {nan, 0, 1e30f, 0, 0, 0})}};
  CHECK(doubles<float>(run_node(node)[0]) == Doubles{0, 0, 4});
  node.attributes = {{"padding_mode", std::string("border")}};
  CHECK(doubles<float>(run_node(node)[0]) == Doubles{3, 5, 4});
  node.attributes = {{"padding_mode", std::string("reflection")}, {"align_corners", int64_t{1}}};
  const auto y = doubles<float>(run_node(node)[0]);
  CHECK((y[0] >= 3 && y[0] <= 5 && y[1] >= 3 && y[1] <= 5 && y[2] == 4));
  node.inputs[1] = floats({2, 1, 1, 2}, {0, 0, 0, 0});
  CHECK(mentions(error_of(node), "grid has shape [2, 1, 1, 2], expected [1, ..., 2] of rank 4"));
}

TEST_CASE("a grid of the elements' own places gives the image back, across blocks of points") {
  const Tensor x = Values(9).normal({2, 3, 9, 11});
  std::vector<float> grid;
  for (int n = 0; n < 2; ++n)
    for (int i = 0; i < 9; ++i)
      for (int j = 0; j < 11; ++j) {
        grid.push_back(static_cast<float>(j) / 5 - 1);
        grid.push_back(static_cast<float>(i) / 4 - 1);
      }
  for (const char* mode : {"nearest", "linear", "cubic"}) {
    const OneNode node{.op = "GridSample",
                       .opset = 20,
                       .inputs = {x, floats({2, 9, 11, 2}, grid)},
                       .attributes = {{"mode", std::string(mode)}, {"align_corners", int64_t{1}}}};
    check_sums(run_node(node)[0], doubles<float>(x), 16);
  }
}

TEST_CASE("regions are averaged over their bins and must be of a size that can be sampled") {
  OneNode node{
      .op = "RoiAlign",
      .opset = 16,
      .inputs = {floats({1, 1, 2, 2}, {1, 2, 3, 4}), floats({1, 4}, {0, 0, 2, 2}), ints({0})}};
  CHECK(doubles<float>(run_node(node)[0]) == Doubles{2.5});
  node.inputs[1] = floats({1, 4}, {0, 0, 1e30f, 2});
  CHECK(mentions(error_of(node), "needs too many samples"));
  node.inputs[1] = floats({1, 4}, {std::nanf(""), 0, 1, 2});
  CHECK(mentions(error_of(node), "needs too many samples"));
  node.inputs[1] = floats({1, 4}, {0, 0, 1e4f, 1e4f});
  CHECK(mentions(error_of(node), "a region needs 10000 x 10000 samples"));
  node.inputs[2] = ints({1});
  CHECK(mentions(error_of(node), "index 1 is out of range for an extent of 1"));
}

TEST_CASE("suppression keeps the better of two boxes that overlap and ranks NaN last") {
  OneNode node{.op = "NonMaxSuppression",
               .opset = 11,
               .inputs = {floats({1, 4, 4}, {0, 0, 2, 2, 0, 0, 2, 1.5f, 5, 5, 6, 6, 8, 8, 9, 9}),
                          floats({1, 1, 4}, {0.5f, 0.9f, 0.1f, std::nanf("")}), ints({9}),
                          floats({1}, {0.5f})}};
  CHECK(doubles<int64_t>(run_node(node)[0]) == Doubles{0, 0, 1, 0, 0, 2, 0, 0, 3});
  node.inputs[2] = ints({-1});
  CHECK(run_node(node)[0].dims() == Dims{0, 3});
  node.inputs[1] = floats({1, 1, 3}, {1, 2, 3});
  CHECK(mentions(error_of(node), "expected [N, boxes, 4] and [N, classes, boxes]"));
}

TEST_CASE("deformable convolution with offsets of 0 is a convolution, and reads between elements") {
  Values values(7);
  OneNode plain{
      .op = "Conv",
      .opset = 19,
      .inputs = {values.normal({2, 4, 6, 7}), values.normal({6, 2, 3, 2}), values.normal({6})},
      .attributes = {{"group", int64_t{2}}, {"pads", Dims{1, 0, 1, 2}}}};
  const auto expected = run_node(plain)[0];
  OneNode moved = plain;
  moved.op = "DeformConv";
  const int64_t pixels = expected.dims()[2] * expected.dims()[3];
  const Dims offset{2, 2 * 6, expected.dims()[2], expected.dims()[3]};
  moved.inputs.insert(moved.inputs.begin() + 2,
                      floats(offset, std::vector<float>(static_cast<size_t>(24 * pixels))));
  check_sums(run_node(moved)[0], doubles<float>(expected), 12);
  OneNode half{.op = "DeformConv",
               .opset = 19,
               .inputs = {floats({1, 1, 1, 2}, {2, 4}), floats({1, 1, 1, 1}, {10}),
                          floats({1, 2, 1, 2}, {0, 0.5f, 0.5f, 0.5f}), Tensor(),
                          floats({1, 1, 1, 2}, {1, 0.5f})}};
  CHECK(doubles<float>(run_node(half)[0]) == Doubles{30, 5});
  half.inputs[2] = floats({1, 2, 1, 1}, {0, 0});
  CHECK(mentions(error_of(half), "offset has shape [1, 2, 1, 1], expected [1, 2, 1, 2]"));
}

TEST_CASE("columns are added where their blocks overlap") {
  OneNode node{.op = "Col2Im",
               .opset = 18,
               .inputs = {floats({1, 2, 2}, {1, 2, 3, 4}), ints({3}), ints({2})}};
  CHECK(doubles<float>(run_node(node)[0]) == Doubles{1, 5, 4});
  node.inputs[2] = ints({4});
  CHECK(mentions(error_of(node), "exceeds the padded image"));
  node.inputs[2] = ints({-1});
  CHECK(mentions(error_of(node), "expected positive extents"));
}

TEST_CASE("unpooling refuses indices beyond the tensor they count") {
  OneNode node{.op = "MaxUnpool",
               .opset = 11,
               .inputs = {floats({1, 1, 2}, {7, 8}),
                          Tensor::from<int64_t>({1, 1, 2}, std::vector<int64_t>{1, 2})},
               .attributes = {{"kernel_shape", Dims{2}}, {"strides", Dims{2}}}};
  CHECK(doubles<float>(run_node(node)[0]) == Doubles{0, 7, 8, 0});
  node.inputs[1] = Tensor::from<int64_t>({1, 1, 2}, std::vector<int64_t>{1, 4});
  CHECK(mentions(error_of(node), "index 4 is out of range for an extent of 4"));
}

TEST_CASE("cropping and padding keep the middle; determinants change sign with their rows") {
  OneNode node{.op = "CenterCropPad",
               .opset = 18,
               .inputs = {floats({2, 3}, {1, 2, 3, 4, 5, 6}), ints({4, 2})}};
  CHECK(doubles<float>(run_node(node)[0]) == Doubles{0, 0, 1, 2, 4, 5, 0, 0});
  node.inputs[1] = ints({4, -1});
  CHECK(mentions(error_of(node), "with a negative extent"));
  OneNode det{.op = "Det", .opset = 11, .inputs = {floats({2, 2, 2}, {0, 1, 1, 0, 1, 2, 2, 4})}};
  CHECK(doubles<float>(run_node(det)[0]) == Doubles{-1, 0});
  det.inputs[0] = floats({2, 3}, {0, 1, 1, 0, 1, 2});
  CHECK(mentions(error_of(det), "expected square matrices"));
}

TEST_CASE("einsum multiplies, sums, broadcasts and walks diagonals") {
  const auto run = [](std::string equation, std::vector<Tensor> inputs) {
    return run_node({.op = "Einsum",
                     .opset = 12,
                     .inputs = std::move(inputs),
                     .attributes = {{"equation", std::move(equation)}}})[0];
  };
  const Tensor m = floats({2, 2}, {1, 2, 3, 4}), v = floats({2}, {10, 20});
  CHECK(doubles<float>(run("ij,j", {m, v})) == Doubles{50, 110});
  CHECK(doubles<float>(run("ij->ji", {m})) == Doubles{1, 3, 2, 4});
  CHECK(doubles<float>(run("ii", {m})) == Doubles{5});
  CHECK(doubles<float>(run("ii->i", {m})) == Doubles{1, 4});
  CHECK(doubles<float>(run("ij,k->j", {m, v})) == Doubles{120, 180});
  CHECK(doubles<float>(run("...i, i -> ...", {m, v})) == Doubles{50, 110});
  CHECK(doubles<float>(run("ij,jk,k->i", {m, m, v})) == Doubles{270, 590});
  const Tensor n = Tensor::from<int32_t>({2}, std::vector<int32_t>{INT32_MAX, 2});
  CHECK(doubles<int32_t>(run("i,i->i", {n, n})) == Doubles{1, 4});  // wraps

  const auto error = [](std::string equation, std::vector<Tensor> inputs) {
    return error_of({.op = "Einsum",
                     .opset = 12,
                     .inputs = std::move(inputs),
                     .attributes = {{"equation", std::move(equation)}}});
  };
  CHECK(mentions(error("ij,jk->ik", {m}), "has 2 terms for 1 inputs"));
  CHECK(mentions(error("ijk->i", {m}), "names 3 axes of input 0, which has rank 2"));
  CHECK(mentions(error("ij->k", {m}), "has an output axis that no input has, or one twice"));
  CHECK(mentions(error("i(j->i", {m}), "has '(' where a letter or one ... may stand"));
  CHECK(mentions(error("ij,j->i", {m, floats({3}, {1, 2, 3})}),
                 "has extent 3, but another axis of its name has 2"));
}

}  // namespace onnxtool::testing
