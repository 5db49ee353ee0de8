#include "libopt/analysis/structure.h"

#include <doctest/doctest.h>

#include "libopt/analysis/seam.h"

namespace onnxtool {
namespace {

std::string difference(const std::string& a, const std::string& b) {
  const std::string head = R"(<ir_version: 10, opset_import: ["" : 21, "acme" : 1]> )";
  auto x = parse_text(head + a), y = parse_text(head + b);
  REQUIRE_MESSAGE(x.ok(), (x.ok() ? "" : x.error().message));
  REQUIRE_MESSAGE(y.ok(), (y.ok() ? "" : y.error().message));
  const auto there = structural_difference(**x, **y), back = structural_difference(**y, **x);
  CHECK(there.has_value() == back.has_value());
  return there.value_or("");
}

TEST_CASE("names and the order of nodes do not matter") {
  CHECK(difference("g (float[2] x) => (float[2] y) <float[2] w = {1, 2}> { a = Neg (x)  b = Abs "
                   "(w)  y = Add (a, b) }",
                   "h (float[2] x) => (float[2] y) <float[2] q = {1, 2}> { t = Abs (q)  s = Neg "
                   "(x)  y = Add (s, t) }") == "");
  CHECK(difference("g (bool p, float[2] x) => (y) { a = Neg (x)  y = If (p) <then_branch = t () => "
                   "(u) { u = Abs (a) }, else_branch = e () => (v) { v = Exp (a) }> }",
                   "g (bool p, float[2] x) => (y) { q = Neg (x)  y = If (p) <then_branch = k () => "
                   "(r) { r = Abs (q) }, else_branch = l () => (a) { a = Exp (q) }> }") == "");
  CHECK(
      difference(
          "g (float[2] x) => (y) { y = LeakyRelu <alpha = 0.5> (x)  d = Neg (x)  e = Abs (x) }",
          "g (float[2] x) => (y) { y = LeakyRelu <alpha = 0.5> (x)  q = Neg (x)  r = Abs (x) }") ==
      "");
  CHECK(difference("g (float[2] x) => (y) { y = Clip (x, , ) }",
                   "g (float[2] x) => (y) { y = Clip (x) }") == "");
}

TEST_CASE("everything else does") {
  const std::string base =
      "g (float[2] x, float[2] z) => (float[2] y) <float[2] w = {1, 2}> { a = Add (x, w)  b = Mul "
      "(z, w)  y = Sub (a, b) }";
  const auto other = [&](const std::string& b) { return difference(base, b); };
  CHECK(other("g (float[2] x, float[2] q) => (float[2] y) <float[2] w = {1, 2}> { a = Add (x, w)  "
              "b = Mul (q, w)  y = Sub (a, b) }") == "'z' and 'q' differ in name");
  CHECK(other("g (float[2] x, float[n] z) => (float[2] y) <float[2] w = {1, 2}> { a = Add (x, w)  "
              "b = Mul (z, w)  y = Sub (a, b) }") == "'z' is float[2] and float[n]");
  CHECK(other("g (float[2] x, float[2] z) => (float[2] y) <float[2] w = {1, 3}> { a = Add (x, w)  "
              "b = Mul (z, w)  y = Sub (a, b) }") == "'w': constants float[2] and float[2] differ");
  CHECK(other("g (float[2] x, float[2] z) => (float[2] y) <float[2] w = {1, 2}> { a = Add (w, x)  "
              "b = Mul (z, w)  y = Sub (a, b) }")
            .find("stands for") != std::string::npos);
  CHECK(other("g (float[2] x, float[2] z) => (float[2] y) <float[2] w = {1, 2}, float[2] v = {1, "
              "2}> { a = Add (x, w)  b = Mul (z, v)  y = Sub (a, b) }")
            .find("stands for") != std::string::npos);
  CHECK(other("g (float[2] x, float[2] z) => (float[2] y) <float[2] w = {1, 2}> { a = Add (x, w)  "
              "b = Div (z, w)  y = Sub (a, b) }") ==
        "node #1 (Mul) and node #1 (Div) are different operators");
  CHECK(other("g (float[2] x, float[2] z) => (float[2] y) <float[2] w = {1, 2}> { a = Add (x, w)  "
              "b = acme.Mul (z, w)  y = Sub (a, b) }") ==
        "node #1 (Mul) and node #1 (acme.Mul) are different operators");
  CHECK(other("g (float[2] x, float[2] z) => (float[2] y) <float[2] w = {1, 2}> { a = Add (x, w)  "
              "b = Mul (z, w)  y = Sub (a, b)  d = Neg (x) }") == "graph 'g': 3 nodes and 4 nodes");
}

TEST_CASE("attributes and subgraphs are compared") {
  CHECK(difference("g (float[2] x) => (y) { y = LeakyRelu <alpha = 0.5> (x) }",
                   "g (float[2] x) => (y) { y = LeakyRelu <alpha = 0.25> (x) }") ==
        "node #0 (LeakyRelu) and node #0 (LeakyRelu): attribute 'alpha' differs");
  CHECK(difference("g (float[2] x) => (y) { y = LeakyRelu <alpha = 0.5> (x) }",
                   "g (float[2] x) => (y) { y = LeakyRelu (x) }") ==
        "node #0 (LeakyRelu) and node #0 (LeakyRelu): numbers of attributes differ");
  CHECK(difference(
            "g (float[2] x) => (y) { c = Constant <value = float[1] {1}> ()  y = Add (x, c) }",
            "g (float[2] x) => (y) { c = Constant <value = float[1] {2}> ()  y = Add (x, c) }") ==
        "node #0 (Constant) and node #0 (Constant): attribute 'value': constants float[1] and "
        "float[1] differ");
  CHECK(difference("g (bool p, float[2] x) => (y) { y = If (p) <then_branch = t () => (u) { u = "
                   "Abs (x) }, else_branch = e () => (v) { v = Exp (x) }> }",
                   "g (bool p, float[2] x) => (y) { y = If (p) <then_branch = t () => (u) { u = "
                   "Neg (x) }, else_branch = e () => (v) { v = Exp (x) }> }") ==
        "node #0 (Abs) and node #0 (Neg) are different operators");
  CHECK(difference("g (float[2] x) => (y) { y = Split (x) }",
                   "g (float[2] x) => (y) { q, y = Split (x) }")
            .find("numbers of the output differ") != std::string::npos);
}

}  // namespace
}  // namespace onnxtool
