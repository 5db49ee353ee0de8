// Steps of gradient descent.
#include "tests/kernels/one_node.h"

namespace onnxtool::testing {

TEST_CASE("Momentum knows two modes and no third") {
  const auto floats = [](Dims dims, float value) {
    return Tensor::from<float>(std::move(dims), std::vector<float>{value});
  };
  OneNode node{.op = "Momentum",
               .opset = 1,
               .inputs = {floats({}, 0.5f), Tensor::from<int64_t>({}, std::vector<int64_t>{1}),
                          floats({1}, 8), floats({1}, 4), floats({1}, 2)},
               .attributes = {{"mode", std::string("standard")},
                              {"alpha", 0.5f},
                              {"beta", 0.25f},
                              {"norm_coefficient", 0.0f}},
               .outputs = 2,
               .domain = "ai.onnx.preview.training"};
  const auto standard = run_node(node);
  CHECK(doubles<float>(standard[0]) == std::vector<double>{7});  // 8 - 0.5 * 2
  CHECK(doubles<float>(standard[1]) == std::vector<double>{2});  // 0.5 * 2 + 0.25 * 4
  node.attributes[0].second = std::string("nesterov");
  CHECK(doubles<float>(run_node(node)[0]) == std::vector<double>{5.5});  // 8 - 0.5 * (4 + 0.5 * 2)
  node.attributes[0].second = std::string("Nesterov");
  CHECK(mentions(error_of(node), "mode is 'Nesterov', expected standard or nesterov"));
}

}  // namespace onnxtool::testing
