// What check says of kernels and names that a release of ONNX Runtime has or refuses. The tables
// are compared with the runtime itself in tests/python/test_check.py.
#include <doctest/doctest.h>

#include <set>
#include <vector>

#include "tests/libopt/check/checked.h"

namespace onnxtool {
namespace {

std::multiset<std::string> codes(const std::string& text, std::string_view runtime,
                                 OrtProvider provider = OrtProvider::kCpu) {
  CheckOptions options;
  options.runtime = find_runtime(runtime);
  options.provider = provider;
  const CheckResult r = testing::check_bytes(testing::encoded_text(text), options);
  std::multiset<std::string> out;
  for (const CheckFinding& f : r.findings) out.insert(std::string(f.rule().code));
  return out;
}

using Codes = std::multiset<std::string>;

std::string one_node(const std::string& type, const std::string& node, int opset = 17) {
  return "<ir_version: 8, opset_import: [\"\" : " + std::to_string(opset) + "]> g (" + type +
         "[4, 4] x) => (" + type + "[4, 4] y) { [n] y = " + node + " }";
}

TEST_CASE("check kernels: an operator without a kernel of the types is an error") {
  CHECK(codes(one_node("float", "MatMul(x, x)"), "ort-1.31") == Codes{});
  CHECK(codes(one_node("bfloat16", "MatMul(x, x)"), "ort-1.31") == Codes{"runtime-kernel"});
}

TEST_CASE("check kernels: float16 is computed in float where there is no kernel") {
  CHECK(codes(one_node("float16", "Selu(x)"), "ort-1.31") == Codes{});
}

TEST_CASE("check kernels: operators without a kernel run by their definition") {
  CHECK(codes(one_node("float", "Mish(x)", 18), "ort-1.31") == Codes{});
  // The definition's Less has no kernel for it either.
  CHECK(codes("<ir_version: 8, opset_import: [\"\" : 17]> g (bfloat16[4] x) => (bool[4] y) "
              "{ [n] y = LessOrEqual(x, x) }",
              "ort-1.31") == Codes{"runtime-kernel"});
}

TEST_CASE("check kernels: a definition may hold for a part of the types") {
  const auto pad = [](const std::string& type) {
    return codes("<ir_version: 8, opset_import: [\"\" : 18]> g (float[4, 4] x, " + type +
                     "[2] s) => (float[M, N] y) { [n] y = CenterCropPad(x, s) }",
                 "ort-1.31");
  };
  CHECK(pad("int64") == Codes{});
  CHECK(pad("int32") == Codes{"runtime-kernel"});  // its Max has one type for both inputs
}

TEST_CASE("check kernels: a definition holds from its opset to where its operators change") {
  using Opsets = std::vector<int>;
  const auto refused = [](const std::string& node) {
    Opsets out;
    for (const int opset : {17, 18, 21, 22, 23})
      if (!codes(one_node("double", node, opset), "ort-1.31").empty()) out.push_back(opset);
    return out;
  };
  CHECK(refused("Elu(x)") == Opsets{17, 21, 22, 23});
  CHECK(refused("LeakyRelu(x)") == Opsets{21, 22, 23});
  // The definition for 22 is HardSigmoid's, which has none there.
  CHECK(refused("HardSwish(x)") == Opsets{17, 21, 22, 23});
}

TEST_CASE("check kernels: they come with releases") {
  // Add takes 16-bit integers since 1.20.
  CHECK(codes(one_node("int16", "Add(x, x)"), "ort-1.31") == Codes{});
  CHECK(codes(one_node("int16", "Add(x, x)"), "ort-1.12") == Codes{"runtime-kernel"});
}

TEST_CASE("check kernels: what a provider leaves to the CPU is counted by operator") {
  const std::string model =
      "<ir_version: 8, opset_import: [\"\" : 17]> g (float[4, 4] x) => (float[4, 4] y) "
      "{ [a] d = Det(x) [b] e = Det(x) [c] f = Add(d, e) [m] y = Mul(x, f) }";
  CHECK(codes(model, "ort-1.22", OrtProvider::kCuda) == Codes{"provider-fallback"});
  CHECK(codes(model, "ort-1.22") == Codes{});
  // What only the provider has is no error.
  CHECK(codes(one_node("bfloat16", "MatMul(x, x)"), "ort-1.22", OrtProvider::kCuda) == Codes{});
}

TEST_CASE("check kernels: names are unique within a graph") {
  const std::string twice =
      "<ir_version: 8, opset_import: [\"\" : 17]> g (float[2] x) => (float[2] y) "
      "{ [n] a = Abs(x) [n] y = Neg(a) }";
  CHECK(codes(twice, "ort-1.31") == Codes{"runtime-node-name"});
  // Constants are initializers before anybody looks at names.
  CHECK(!codes("<ir_version: 8, opset_import: [\"\" : 17]> g (float[2] x) => (float[2] y) "
               "{ [n] a = Constant<value = float[1] {1.0}>() [n] y = Mul(x, a) }",
               "ort-1.31")
             .contains("runtime-node-name"));
  const std::string branches =
      "<ir_version: 8, opset_import: [\"\" : 17]> g (bool c, float[2] x) => (float[2] y) "
      "{ [i] y = If(c) <then_branch = t () => (float[2] o) { [n] o = Neg(x) }, "
      "else_branch = e () => (float[2] p) { [n] p = Abs(x) }> }";
  CHECK(!codes(branches, "ort-1.31").contains("runtime-node-name"));
}

TEST_CASE("check kernels: an opset beyond the release is told instead") {
  CHECK(codes(one_node("bfloat16", "MatMul(x, x)", 21), "ort-1.16") == Codes{"runtime-opset"});
}

}  // namespace
}  // namespace onnxtool
