// com.microsoft's operators on a device against the host's, in all their forms.
#include "tests/kernels/device_node.h"

namespace onnxtool::testing {
namespace {

TEST_CASE("device kernels: products of weights of few bits, as the host's") {
  DeviceDraws draws;
  constexpr int64_t kK = 70, kN = 9;
  for (const int64_t bits : {2, 4, 8})
    for (const int64_t block : {16, 32})
      for (const int level : {0, 4})
        for (const int zeros : {0, 1, 2}) {  // none, packed, floats
          const int64_t blocks = (kK + block - 1) / block;
          std::vector<std::optional<Tensor>> inputs = {draws.floats({2, 3, kK}),
                                                       draws.bytes({kN, blocks, block * bits / 8}),
                                                       draws.floats({kN * blocks})};
          if (zeros == 1) inputs.push_back(draws.bytes({kN * ((blocks * bits + 7) / 8)}));
          if (zeros == 2) inputs.push_back(draws.floats({kN * blocks}));
          if (level == 4) {
            inputs.resize(5);
            inputs.push_back(draws.floats({kN}));
          }
          // Codes reach 255, so sums of 70 products some 10^4.
          check_on_devices("com.microsoft.MatMulNBits <K = 70, N = 9, bits = " +
                               std::to_string(bits) + ", block_size = " + std::to_string(block) +
                               ", accuracy_level = " + std::to_string(level) + ">",
                           inputs, 1, bits == 8 ? 5e-3 : 1e-4);
        }
}

TEST_CASE("device kernels: embeddings that are summed and normalized, as the host's") {
  DeviceDraws draws;
  for (const bool has_segments : {true, false})
    for (const bool has_positions : {true, false}) {
      std::vector<std::optional<Tensor>> inputs(9);
      inputs[0] = draws.below<int32_t>(11, {3, 5});
      inputs[2] = draws.floats({11, 40});
      inputs[3] = draws.floats({6, 40});
      inputs[5] = draws.floats({40});
      inputs[6] = draws.floats({40});
      inputs[7] = draws.below<int32_t>(2, {3, 5});
      if (has_segments) {
        inputs[1] = draws.below<int32_t>(2, {3, 5});
        inputs[4] = draws.floats({2, 40});
      }
      if (has_positions) inputs[8] = draws.below<int32_t>(6, {1, 5});
      check_on_devices("com.microsoft.EmbedLayerNormalization <epsilon = 0.001>", inputs, 3, 1e-5);
    }
}

}  // namespace
}  // namespace onnxtool::testing
