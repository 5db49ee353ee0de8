// Findings about quantized layers, about targets, and about calls of functions.
#include <doctest/doctest.h>

#include <set>

#include "tests/libopt/check/checked.h"

namespace onnxtool {
namespace {

CheckResult checked(const std::string& text, std::string_view target = "") {
  CheckOptions options;
  options.target = find_target(target);
  return testing::check_bytes(testing::encoded_text(text), options);
}

using Codes = std::set<std::string>;

Codes codes(const CheckResult& r) {
  Codes out;
  for (const CheckFinding& f : r.findings) out.insert(std::string(f.rule().code));
  return out;
}

// A layer of two channels between DequantizeLinear nodes: data in units of 0.5, weights of 0.25.
std::string layer(const std::string& op, const std::string& bias_scale,
                  const std::string& bias_type = "int32", const std::string& zero = "0",
                  const std::string& weight_scale = "float sw = {0.25}") {
  const bool conv = op == "Conv";
  return "<ir_version: 8, opset_import: [\"\" : 17]> g (uint8" +
         std::string(conv ? "[1, 1, 2, 2]" : "[3, 1]") + " x) => (float" +
         (conv ? "[1, 2, 2, 2]" : "[3, 2]") + " y) <float sx = {0.5}, uint8 zx = {128}, int8" +
         (conv ? "[2, 1, 1, 1]" : "[1, 2]") + " w = {1, 2}, " + weight_scale + ", " + bias_type +
         "[2] b = {3, 4}, " + bias_scale + ", " + bias_type + " zb = {" + zero +
         "}> { [a] xd = DequantizeLinear (x, sx, zx)  [b] wd = DequantizeLinear <axis = " +
         (conv ? "0" : "1") + "> (w, sw)  [c] bd = DequantizeLinear <axis = 0> (b, sb" +
         (zero == "0" ? ")" : ", zb)") + "  [layer] y = " + op + " (xd, wd, bd) }";
}

// What is said of the bias; empty: nothing.
std::string bias_finding(const std::string& text) {
  for (const CheckFinding& f : checked(text).findings)
    if (f.id == RuleId::kBiasScale) return f.message;
  return {};
}

TEST_CASE("check: biases are in units of data times weights") {
  for (const std::string op : {"Conv", "Gemm"}) {
    CHECK(bias_finding(layer(op, "float sb = {0.125}")).empty());
    CHECK(bias_finding(layer(op, "float sb = {0.1255}")).empty());  // within one percent
    CHECK(
        bias_finding(layer(op, "float sb = {0.128}"))
            .ends_with("node 'layer' (" + op + "): its scale is 0.128, data times weights 0.125"));
    CHECK(bias_finding(layer(op, "float sb = {0.125}", "int8"))
              .ends_with("it holds int8, expected int32"));
    CHECK(bias_finding(
              layer(op, "float[2] sb = {0.125, 0.25}", "int32", "0", "float[2] sw = {0.25, 0.5}"))
              .empty());
    CHECK(bias_finding(
              layer(op, "float[2] sb = {0.125, 0.125}", "int32", "0", "float[2] sw = {0.25, 0.5}"))
              .ends_with("data times weights 0.25 in channel 1"));
  }
  CHECK(bias_finding(layer("Conv", "float sb = {0.125}", "int32", "1"))
            .ends_with("zero point is not 0"));
}

TEST_CASE("check: sums saturate also behind operators that codes pass by") {
  for (const std::string op : {"Reshape (xd, s)", "Transpose (xd)", "Exp (xd)"}) {
    const Codes found = codes(checked(
        "<ir_version: 8, opset_import: [\"\" : 17]> g (uint8[2, 2] x) => (float[2, 2] y) "
        "<float sx = {0.5}, uint8 zx = {128}, int8[2, 2] w = {127, 127, 127, 127}, int8 zw = {0}, "
        "int64[2] s = {2, 2}> { [a] xd = DequantizeLinear (x, sx, zx)  [b] m = " +
        op + "  [c] wd = DequantizeLinear (w, sx, zw)  [d] y = MatMul (m, wd) }"));
    CHECK_MESSAGE(found.contains("saturation") == (op != "Exp (xd)"), op);
  }
}

TEST_CASE("check: s8 between one Q and one DQ becomes u8, whose sums saturate") {
  const auto found = [](const std::string& from, const std::string& more) {
    return codes(checked("<ir_version: 8, opset_import: [\"\" : 17]> g (" + from +
                         "[2, 2] x) => (float[2, 2] y" + (more.empty() ? "" : ", float[2, 2] z") +
                         ") <float s = {0.5}, int8 z0 = {0}, int8[2, 2] w = {127, 127, 127, 127}> "
                         "{ " +
                         (from == "float" ? "[q] c = QuantizeLinear (x, s, z0)"
                                          : "[q] c = Identity (x)") +
                         "  [a] xd = DequantizeLinear (c, s, z0)  [b] wd = DequantizeLinear (w, s, "
                         "z0)  [n] y = MatMul (xd, wd) " +
                         more + " }"))
        .contains("saturation");
  };
  CHECK(found("float", ""));
  CHECK(!found("float", "[d] z = DequantizeLinear (c, s, z0)"));
  CHECK(!found("int8", ""));
}

TEST_CASE("check: pairs that saturate are those of the kernel's order") {
  // Weights as [outputs, channels, taps]: which two of four are large.
  const auto found = [](const std::string& op, const std::string& dims,
                        const std::string& weights) {
    const bool conv = op.find("Conv") != std::string::npos;
    const CheckResult r =
        checked("<ir_version: 8, opset_import: [\"\" : 17, \"com.microsoft\" : 1]> g (uint8" +
                std::string(conv ? "[1, 2, 4]" : "[2, 2]") + " x) => (uint8" +
                std::string(conv ? "[a, b, c]" : "[a, b]") +
                " y) <float s = {0.5}, uint8 zx = {128}, int8" + dims + " w = {" + weights +
                "}, int8 zw = {0}> { [n] y = " + op + " (x, s, zx, w, s, zw, s, zx) }");
    for (const CheckFinding& f : r.findings)
      if (f.rule().code == "saturation") return f.message;
    return std::string(r.findings.empty() ? "none" : r.findings[0].message);
  };
  CHECK(found("QLinearConv", "[1, 2, 2]", "100, 100, 0, 0") == "none");
  CHECK(found("QLinearConv", "[1, 2, 2]", "100, 0, 100, 0") ==
        "1 pair of weights in 1 node, first node 'n' (QLinearConv)");
  CHECK(found("QLinearConv <group = 2>", "[2, 1, 2]", "100, 100, 0, 0") == "none");
  CHECK(found("QLinearConv <group = 2>", "[4, 1, 2]", "100, 100, 0, 0, -70, -70, 64, 64") ==
        "2 pairs of weights in 1 node, first node 'n' (QLinearConv)");
  CHECK(found("QLinearMatMul", "[2, 2]", "100, 100, 0, 0") == "none");
  CHECK(found("QLinearMatMul", "[2, 2]", "100, 0, 100, 0") != "none");
}

TEST_CASE("check: a target that needs fixed shapes says which vary") {
  const auto model = [](const std::string& input, const std::string& output,
                        const std::string& body) {
    return "<ir_version: 8, opset_import: [\"\" : 17]> g (float" + input + " x) => (" + output +
           " y) { [n] y = " + body + " }";
  };
  const std::string fixed = model("[2, 3]", "float[2, 3]", "Relu (x)");
  const std::string varying = model("[batch, 3]", "float[batch, 3]", "Relu (x)");
  const std::string data = model("[2, 3]", "int64[2, n]", "NonZero (x)");
  for (const std::string& m : {fixed, varying, data}) CHECK(codes(checked(m)) == Codes{});
  CHECK(codes(checked(fixed, "qnn")) == Codes{});
  CHECK(codes(checked(varying, "ort-cpu")) == Codes{});
  const CheckResult input = checked(varying, "qnn");
  REQUIRE(codes(input) == Codes{"dynamic-shape"});
  CHECK(input.findings[0].place == "graph input 'x'");
  const CheckResult inner = checked(data, "qnn");
  REQUIRE(codes(inner) == Codes{"dynamic-shape"});
  CHECK(inner.findings[0].message.find("first 'y' of node 'n' (NonZero)") != std::string::npos);
}

TEST_CASE("check: a target of symmetric kernels refuses zero points") {
  CHECK(codes(checked(layer("Conv", "float sb = {0.125}"))).contains("target-zero-point") == false);
  CHECK(codes(checked(layer("Conv", "float sb = {0.125}"), "tensorrt"))
            .contains("target-zero-point"));
}

// A model with a call of f, whose body is given.
std::string calling(const std::string& call, const std::string& body,
                    const std::string& signature = "(a, b) => (c)") {
  return "<ir_version: 8, opset_import: [\"\" : 17, \"own\" : 1]> g (float[2] x) => (float[2] y) { "
         "[call] " +
         call + " } <domain: \"own\", opset_import: [\"\" : 17]> f " + signature + " { " + body +
         " }";
}

TEST_CASE("check: calls fit the signature of their function") {
  const std::string body = "c = Add (a, b)";
  CHECK(codes(checked(calling("y = own.f (x, x)", body))) == Codes{});
  CHECK(codes(checked(calling("y = own.f (x, x, x)", body))).contains("input-count"));
  CHECK(codes(checked(calling("y, z = own.f (x, x)", body))).contains("output-count"));
  CHECK(codes(checked(calling("y = own.f (x)", body))).contains("missing-input"));
  CHECK(codes(checked(calling("y = own.f (\"\", x)", body))).contains("missing-input"));
  // What the body can do without may be left out.
  CHECK_FALSE(
      codes(checked(calling("y = own.f (x)", "c = Clip (a, b)"))).contains("missing-input"));
}

TEST_CASE("check: what is wrong in a function names it") {
  const CheckResult r = checked(calling("y = own.f (x, x)", "c = Add (a, b)  d = Konv (a)"));
  REQUIRE(!r.findings.empty());
  CHECK(r.findings[0].rule().code == "unknown-operator");
  CHECK(r.findings[0].place == "node #1 (Konv) of function 'own.f'");
}

}  // namespace
}  // namespace onnxtool
