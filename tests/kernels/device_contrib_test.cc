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

TEST_CASE("device kernels: elementwise operators of codes equal the host's") {
  DeviceDraws draws;
  const auto scale = [](float v) { return Tensor::from<float>({}, std::vector<float>{v}); };
  for (const DataType type : {DataType::kInt8, DataType::kUint8}) {
    const auto zero = [&] { return draws.codes(type, {}); };
    for (const std::string op : {"QLinearAdd", "QLinearMul"}) {
      const float y = op == "QLinearAdd" ? 0.04f : 1.3f;
      check_on_devices("com.microsoft." + op,
                       {draws.codes(type, {3, 5, 40}), scale(0.03f), zero(),
                        draws.codes(type, {5, 1}), scale(0.05f), zero(), scale(y), zero()},
                       1, 0);
      // Scales that are alike make ties of every second sum.
      check_on_devices("com.microsoft." + op,
                       {draws.codes(type, {999}), scale(0.5f), zero(), draws.codes(type, {999}),
                        scale(0.5f), zero(), scale(1.0f)},
                       1, 0);
    }
    check_on_devices("com.microsoft.QLinearSigmoid",
                     {draws.codes(type, {7, 300}), scale(0.05f), zero(), scale(0.004f), zero()}, 1,
                     0);
    check_on_devices("com.microsoft.QLinearLeakyRelu <alpha = 0.2>",
                     {draws.codes(type, {7, 300}), scale(0.05f), zero(), scale(0.06f), zero()}, 1,
                     0);
    for (const std::string pads : {"0", "1"})
      check_on_devices(
          "com.microsoft.QLinearAveragePool <kernel_shape = [3,2], strides = [2,2], "
          "pads = [1,0,1,1], count_include_pad = " +
              pads + ">",
          {draws.codes(type, {2, 4, 9, 7}), scale(0.05f), zero(), scale(0.03f), zero()}, 1, 0);
    for (const std::string last : {"0", "1"})
      check_on_devices(
          "com.microsoft.QLinearGlobalAveragePool <channels_last = " + last + ">",
          {draws.codes(type, {2, 14, 9, 70}), scale(0.05f), zero(), scale(0.01f), zero()}, 1, 0);
    for (const std::string attributes : {"opset = 13, axis = 1", "opset = 12, axis = 1"})
      check_on_devices("com.microsoft.QLinearSoftmax <" + attributes + ">",
                       {draws.codes(type, {2, 14, 9}), scale(0.05f), zero(), scale(0.004f), zero()},
                       1, 0);
    check_on_devices("com.microsoft.QLinearConcat <axis = 1>",
                     {scale(0.05f), zero(), draws.codes(type, {2, 3, 4}), scale(0.04f), zero(),
                      draws.codes(type, {2, 1, 4}), scale(0.07f), zero()},
                     1, 0);
  }
}

TEST_CASE("device kernels: a fused Gemm activates, as the host's") {
  DeviceDraws draws;
  for (const std::string activation : {"activation = \"Relu\"", "activation = \"Tanh\"",
                                       "activation = \"LeakyRelu\", activation_alpha = 0.2"})
    check_on_devices(
        "com.microsoft.FusedGemm <transB = 1, alpha = 0.5, beta = 2.0, " + activation + ">",
        {draws.floats({5, 40}), draws.floats({7, 40}), draws.floats({7})}, 1, 1e-5);
}

TEST_CASE("device kernels: triangles, diagonals, tensors of one value and Dropout at inference") {
  DeviceDraws draws;
  for (const int64_t k : {-9, -1, 0, 2, 9})
    for (const std::string upper : {"0", "1"})
      check_on_devices("Trilu <upper = " + upper + ">",
                       {draws.codes(DataType::kUint8, {2, 5, 7}),
                        Tensor::from<int64_t>({}, std::vector<int64_t>{k})},
                       1, 0);
  check_on_devices("EyeLike <k = -1, dtype = 10>", {draws.floats({4, 6})}, 1, 0);
  check_on_devices("Dropout", {draws.floats({4, 6}), draws.floats({})}, 1, 0);
  check_on_devices("LRN <size = 4, alpha = 0.5, beta = 0.6>", {draws.floats({2, 6, 3, 5})}, 1,
                   1e-6);
  // Floats are made there; integers, which are mostly shapes, on the host.
  for (const KernelSet* device : devices())
    for (const std::string value : {"float[1] v = {2.5}", "int64[1] v = {3}"}) {
      auto model = parse_text(R"(<ir_version: 10, opset_import: ["" : 21]> g (float[2,3] x) => (y)
{ s = Shape (x)  y = ConstantOfShape <value = )" +
                              value + "> (s) }");
      REQUIRE_MESSAGE(model.ok(), (model.ok() ? "" : model.error().message));
      REQUIRE(infer_graph((*model)->graph()).ok());
      PlanOptions options;
      options.kernel_sets = {device, &cpu_kernel_set()};
      const auto plan = Plan::compile((*model)->graph(), options);
      REQUIRE(plan.ok());
      const bool is_float = value.starts_with("float");
      CHECK(((*plan)->describe_kernels().find("cuda: 1 step") != std::string::npos) == is_float);
      std::vector<Tensor> found;
      REQUIRE(RunContext(*plan).run(std::vector<Tensor>{draws.floats({2, 3})}, &found).ok());
      if (is_float)
        CHECK(found[0].values<float>() == std::vector<float>(6, 2.5f));
      else
        CHECK(found[0].values<int64_t>() == std::vector<int64_t>(6, 3));
    }
}

TEST_CASE("device kernels: sums of products by labelled axes, as the host's") {
  DeviceDraws draws;
  const auto einsum = [](const std::string& equation) {
    return "Einsum <equation = \"" + equation + "\">";
  };
  check_on_devices(einsum("bhqd,bhkd->bhqk"),
                   {draws.floats({2, 3, 5, 8}), draws.floats({2, 3, 7, 8})}, 1, 1e-5);
  check_on_devices(einsum("...ij,jk,k->...ki"),
                   {draws.floats({2, 3, 4, 5}), draws.floats({5, 6}), draws.floats({6})}, 1, 1e-5);
  check_on_devices(einsum("iij,k->j"), {draws.floats({4, 4, 5}), draws.floats({6})}, 1, 1e-5);
  check_on_devices(einsum("ij,jk"),
                   {draws.below<int32_t>(100, {4, 5}), draws.below<int32_t>(100, {5, 3})}, 1, 0);
  check_on_devices(einsum("ij->"), {draws.floats({40, 50})}, 1, 1e-4);
}

}  // namespace
}  // namespace onnxtool::testing
