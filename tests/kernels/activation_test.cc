// What activations make of values that are no numbers.
#include <cmath>

#include "tests/kernels/one_node.h"

namespace onnxtool::testing {

TEST_CASE("activations pass NaN on, alone and in a vector") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const char* op : {"Relu", "LeakyRelu", "Elu", "Celu", "Selu", "Softplus", "Softsign", "Mish",
                         "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Gelu"})
    for (const int64_t count : {1, 37}) {
      std::vector<float> x(static_cast<size_t>(count), -1.0f);
      x.back() = nan;
      const auto y =
          run_node({.op = op, .opset = 22, .inputs = {Tensor::from<float>({count}, x)}});
      const auto values = doubles<float>(y[0]);
      CHECK_MESSAGE(std::isnan(values.back()), op << " of " << count);
      if (count > 1) CHECK_MESSAGE(!std::isnan(values[0]), op);
    }
}

TEST_CASE("a Clip without a bound makes infinities finite, as onnxruntime does") {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  constexpr float kMax = std::numeric_limits<float>::max();
  const Tensor x = Tensor::from<float>({3}, std::vector<float>{-kInf, kInf, 2}),
               one = Tensor::from<float>({}, std::vector<float>{1});
  using Values = std::vector<double>;
  for (const int64_t opset : {6, 11, 13})
    CHECK(run_node({.op = "Clip", .opset = opset, .inputs = {x}})[0].to_doubles() ==
          Values{-kMax, kMax, 2});
  CHECK(run_node({.op = "Clip", .opset = 13, .inputs = {x, Tensor(), one}})[0].to_doubles() ==
        Values{-kMax, 1, 1});
  CHECK(run_node({.op = "Clip", .opset = 6, .inputs = {x}, .attributes = {{"min", 0.5f}}})[0]
            .to_doubles() == Values{0.5, kMax, 2});
  const auto of = [&]<class T>(const T& low, const T& high) {
    return run_node({.op = "Clip",
                     .opset = 13,
                     .inputs = {Tensor::from<T>({2}, std::vector<T>{low, high})}})[0]
        .to_doubles();
  };
  constexpr double kMost = std::numeric_limits<double>::max();
  CHECK(of(Half(-kInf), Half(kInf)) == Values{-65504, 65504});
  CHECK(of(Bfloat16(-kInf), Bfloat16(kInf)) == Values{-0x1.fep127, 0x1.fep127});
  CHECK(of(double{-kInf}, double{kInf}) == Values{-kMost, kMost});
}

}  // namespace onnxtool::testing
