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

}  // namespace onnxtool::testing
