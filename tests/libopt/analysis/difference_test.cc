#include "libopt/analysis/difference.h"

#include <doctest/doctest.h>

#include "libopt/analysis/seam.h"
#include "libopt/analysis/structure.h"

namespace onnxtool {
namespace {

std::unique_ptr<Model> parsed(
    const std::string& body,
    const std::string& head = R"(<ir_version: 8, opset_import: ["" : 17]>)") {
  auto m = parse_text(head + " g (float[1,4] x) => (float[1,4] y) " + body);
  REQUIRE(m.ok());
  return *std::move(m);
}

std::string text_of(const std::vector<Difference>& list) {
  std::string out;
  for (const Difference& d : list) {
    out += d.kind == Difference::Kind::kAdded     ? "+"
           : d.kind == Difference::Kind::kRemoved ? "-"
                                                  : "~";
    out += d.place + (d.what.empty() ? "" : ": " + d.what) + "\n";
  }
  return out;
}

const char* const kBase =
    "<float[4] w = {1, 2, 3, 4}> { a = Mul (x, w)  b = Relu (a)  c = Add (b, x)  y = Elu <alpha = "
    "0.5> (c) }";

TEST_CASE("names, order and where constants stand are no differences") {
  const auto other = parsed(
      "{ k = Constant <value = float[4] {1, 2, 3, 4}> ()  p = Mul (x, k)  q = Relu (p)  r = Add "
      "(q, x)  y = Elu <alpha = 0.5> (r) }");
  CHECK(text_of(model_differences(*parsed(kBase), *other)).empty());
}

TEST_CASE("each change is found alone, although all behind it reads it") {
  const auto base = parsed(kBase);
  const auto difference = [&](const std::string& body) {
    return text_of(model_differences(*base, *parsed(body)));
  };
  const std::string weight = difference(
      "<float[4] w = {1, 2, 3, 5}> { a = Mul (x, w)  b = Relu (a)  c = Add (b, x)  y = Elu <alpha "
      "= 0.5> (c) }");
  CHECK(weight.starts_with("~node #0 (Mul): input 1: float[4] sha256:"));
  CHECK(weight.find("SQNR 14.77 dB, largest difference 1\n") != std::string::npos);
  CHECK(std::count(weight.begin(), weight.end(), '\n') == 1);
  CHECK(difference("<float[4] w = {1, 2, 3, 4}> { a = Mul (x, w)  b = Relu (a)  c = Add (b, x)  y "
                   "= Elu <alpha = 0.25> (c) }") ==
        "~node #3 (Elu): attribute 'alpha': 0.5 -> 0.25\n");
  CHECK(difference("<float[4] w = {1, 2, 3, 4}> { a = Mul (x, w)  b = Relu (a)  t = Tanh (b)  c = "
                   "Add (t, x)  y = Elu <alpha = 0.5> (c) }") ==
        "+node #2 (Tanh)\n~node #3 (Add): input 0: reads the result of node #2 (Tanh) now\n");
  CHECK(difference("<float[4] w = {1, 2, 3, 4}> { a = Mul (x, w)  c = Add (a, x)  y = Elu <alpha = "
                   "0.5> (c) }") ==
        "-node #1 (Relu)\n~node #1 (Add): input 0: reads the result of node #0 (Mul) now\n");
  CHECK(difference("<float[4] w = {1, 2, 3, 4}> { a = Mul (x, w)  b = Sigmoid (a)  c = Add (b, x)  "
                   "y = Elu <alpha = 0.5> (c) }") ==
        "-node #1 (Relu)\n+node #1 (Sigmoid)\n~node #2 (Add): input 0: reads the result of node #1 "
        "(Sigmoid) now\n");
}

TEST_CASE("what programs see of a model is compared by name") {
  const auto base = parsed("{ y = Relu (x) }");
  const auto other = parsed("{ y = Relu (x) }", R"(<ir_version: 9, opset_import: ["" : 18]>)");
  CHECK(text_of(model_differences(*base, *other)) ==
        "~IR version: 8 -> 9\n~opset 'ai.onnx': 17 -> 18\n");
  const auto renamed = parse_text(
      R"(<ir_version: 8, opset_import: ["" : 17]> g (float[1,5] x) => (float[1,5] z) { z = Relu (x) })");
  const std::string text = text_of(model_differences(*base, **renamed));
  CHECK(text ==
        "~input 'x': float[1, 4] -> float[1, 5]\n-output 'y': float[1, 4]\n+output 'z': float[1, "
        "5]\n");
}

TEST_CASE("swapped outputs and changed subgraphs do not hide") {
  const auto two = [](const std::string& body) {
    return *parse_text(
        "<ir_version: 8, opset_import: [\"\" : 17]> g (float[1,4] x) => (float[1,4] y, float[1,4] "
        "z) " +
        body);
  };
  CHECK(text_of(model_differences(*two("{ y = Relu (x)  z = Elu (x) }"),
                                  *two("{ z = Relu (x)  y = Elu (x) }"))) ==
        "~output 'y': is made by another node\n~output 'z': is made by another node\n");
  const auto with_if = [](const std::string& op) {
    return *parse_text(
        "<ir_version: 8, opset_import: [\"\" : 17]> g (bool c, float[1,4] x) => (float[1,4] y) { y "
        "= If (c) <then_branch = t () => (float[1,4] p) { p = " +
        op + " (x) }, else_branch = e () => (float[1,4] q) { q = Neg (x) }> }");
  };
  CHECK(model_differences(*with_if("Relu"), *with_if("Relu")).empty());
  CHECK(text_of(model_differences(*with_if("Relu"), *with_if("Elu"))) ==
        "~node #0 (If): attribute 'then_branch': a graph -> a graph\n");
}

TEST_CASE("the outline changes exactly where the model does") {
  const std::string a = outline(*parsed(kBase));
  CHECK(a.find("'a' = Mul 'x' 'w'\n") != std::string::npos);
  CHECK(a.find("alpha=0.5") != std::string::npos);
  CHECK(a != outline(*parsed("<float[4] w = {1, 2, 3, 5}> { a = Mul (x, w)  b = Relu (a)  c = Add "
                             "(b, x)  y = Elu <alpha = 0.5> (c) }")));
}

}  // namespace
}  // namespace onnxtool
