// Products and convolutions of 8-bit codes on a device equal the host's: signs, zero points,
// extents that tensor cores do not take as they are.
#include "tests/kernels/device_node.h"

namespace onnxtool::testing {
namespace {

constexpr DataType kSigned = DataType::kInt8, kUnsigned = DataType::kUint8;

struct CodeShapes {
  std::vector<int64_t> a, b;
};

TEST_CASE("device kernels: products of codes of every sign and zero point, in shapes of no unit") {
  DeviceDraws draws;
  const CodeShapes shapes[] = {
      {{5, 16}, {16, 32}},        // whole units
      {{3, 19}, {19, 21}},        // padded along both
      {{2, 3, 7, 33}, {33, 18}},  // one tall product
      {{4, 5, 40}, {4, 40, 17}},  // a batch
      {{1, 5, 40}, {4, 40, 17}},  // whose left side is shared
      {{2, 1, 5, 9}, {3, 9, 4}},  // matrices in no even order
      {{37}, {37, 20}},           // a row
      {{1, 23}, {23, 9}},         // which the stand-in declines
      {{6, 700}, {700}},          // and a column
  };
  for (const CodeShapes& s : shapes) {
    const int64_t columns = s.b.size() > 1 ? s.b.back() : 1;
    for (const DataType a : {kSigned, kUnsigned})
      for (const DataType b : {kSigned, kUnsigned}) {
        const auto x = draws.codes(a, s.a), w = draws.codes(b, s.b);
        check_on_devices("MatMulInteger", {x, w}, 1, 0);
        check_on_devices("MatMulInteger", {x, w, draws.codes(a, {})}, 1, 0);
        check_on_devices("MatMulInteger", {x, w, draws.codes(a, {}), draws.codes(b, {columns})}, 1,
                         0);
        const int64_t rows = s.a.size() > 1 ? s.a[s.a.size() - 2] : 1;
        check_on_devices("MatMulInteger", {x, w, draws.codes(a, {rows})}, 1, 0);
        check_on_devices("com.microsoft.MatMulIntegerToFloat",
                         {x, w, draws.floats({}), draws.floats({columns}), draws.codes(a, {}),
                          std::nullopt, draws.floats({columns})},
                         1, 1e-6);
        const auto positive = [&](std::vector<int64_t> dims) {
          std::vector<float> v = draws.floats(dims).values<float>();
          for (float& f : v) f = 0.01f + 0.005f * f;
          return Tensor::from<float>(std::move(dims), v);
        };
        const Tensor y_scale = Tensor::from<float>({}, std::vector<float>{0.5f});
        check_on_devices("QLinearMatMul",
                         {x, positive({rows}), draws.codes(a, {rows}), w, positive({columns}),
                          draws.codes(b, {columns}), y_scale, draws.codes(a, {})},
                         1, 0);
        if (a == kUnsigned)
          check_on_devices("com.microsoft.DynamicQuantizeMatMul",
                           {draws.floats(s.a), w, positive({columns}), draws.codes(b, {columns}),
                            draws.floats({columns})},
                           1, 1e-6);
      }
  }
}

TEST_CASE("device kernels: a product of what is quantized on the way is one chain on the device") {
  for (const KernelSet* device : devices()) {
    auto model = parse_text(R"(<ir_version: 10, opset_import: ["" : 21]>
g (float[5,40] x, int8[40,7] w) => (float[5,7] y)
{ q, s, z = DynamicQuantizeLinear (x)  i = MatMulInteger (q, w, z)  f = Cast <to = 1> (i)
  y = Mul (f, s) })");
    REQUIRE(model.ok());
    REQUIRE(infer_graph((*model)->graph()).ok());
    PlanOptions options;
    options.kernel_sets = {device, &cpu_kernel_set()};
    const auto plan = Plan::compile((*model)->graph(), options);
    REQUIRE(plan.ok());
    const std::string kernels = (*plan)->describe_kernels();
    CHECK_MESSAGE(kernels.ends_with("2 values copied to the device, 1 from it"), kernels);
    CHECK_MESSAGE(kernels.find("cpu") == std::string::npos, kernels);
  }
}

TEST_CASE(
    "device kernels: convolutions of codes of every sign, padded, in groups, image by image") {
  DeviceDraws draws;
  struct CodeWindow {
    CodeShapes shapes;
    const char* attributes;
  };
  const CodeWindow windows[] = {
      {{{5, 3, 9, 7}, {10, 3, 3, 3}}, "pads = [1,0,1,2], strides = [2,1]"},
      {{{2, 34, 6, 7}, {6, 17, 2, 2}},
       "group = 2, dilations = [2,1], pads = [1,1,0,0]"},     // enough terms
      {{{2, 8, 6, 7}, {8, 1, 3, 3}}, "group = 8"},            // too few
      {{{3, 20, 40, 40}, {6, 20, 1, 1}}, "strides = [1,1]"},  // more than goes at once
      {{{2, 6, 31}, {5, 6, 4}}, "strides = [3]"},
  };
  for (const CodeWindow& w : windows)
    for (const DataType a : {kSigned, kUnsigned})
      for (const DataType b : {kSigned, kUnsigned}) {
        const auto x = draws.codes(a, w.shapes.a), weights = draws.codes(b, w.shapes.b);
        const int64_t outputs = w.shapes.b[0];
        const std::string node = std::string("ConvInteger <") + w.attributes + ">";
        check_on_devices(node, {x, weights}, 1, 0);
        check_on_devices(node, {x, weights, draws.codes(a, {})}, 1, 0);
        check_on_devices(node, {x, weights, draws.codes(a, {}), draws.codes(b, {outputs})}, 1, 0);
        const Tensor scale = Tensor::from<float>({}, std::vector<float>{0.01f}),
                     y_scale = Tensor::from<float>({}, std::vector<float>{3.0f});
        check_on_devices(std::string("QLinearConv <") + w.attributes + ">",
                         {x, scale, draws.codes(a, {}), weights, scale, draws.codes(b, {outputs}),
                          y_scale, draws.codes(a, {}), draws.below<int32_t>(999, {outputs})},
                         1, 0);
      }
}

}  // namespace
}  // namespace onnxtool::testing
