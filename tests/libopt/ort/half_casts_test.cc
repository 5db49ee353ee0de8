// Casts around float16 nodes, as ONNX Runtime would put them.

#include "libopt/ort/half_casts.h"

#include <doctest/doctest.h>

#include <string>

#include "libopt/analysis/seam.h"
#include "libopt/ir/model.h"

namespace onnxtool {
namespace {

/// The operators in order, with the element type of the first output.
std::string after(const std::string& graph) {
  auto model = parse_text("<ir_version: 8, opset_import: [\"\" : 17]> " + graph);
  REQUIRE(model.ok());
  REQUIRE(infer_graph((*model)->graph()).ok());
  insert_half_casts((*model)->graph());
  std::string text;
  for (const Node& n : (*model)->graph().nodes())
    text +=
        (text.empty() ? "" : " ") + n.op_type() + ":" + std::string(name(n.output(0).type().dtype));
  return text;
}

}  // namespace

TEST_CASE("half casts: chains pass floats on") {
  CHECK(after("g (float16[2] x) => (float16[2] y) { a = Sin (x) y = Cos (a) }") ==
        "Cast:float Sin:float Cos:float Cast:float16");
}
TEST_CASE("half casts: a graph output between is given in float16 too") {
  CHECK(after("g (float16[2] x) => (float16[2] a, float16[2] y) { a = Sin (x) y = Cos (a) }") ==
        "Cast:float Sin:float Cast:float16 Cos:float Cast:float16");
}
TEST_CASE("half casts: what has a kernel stays, unless it stands alone") {
  CHECK(after("g (float16[2] x) => (float16[2] y) { y = Clip (x) }") == "Clip:float16");
  CHECK(after("g (float16[2] x) => (float16[2] y) { a = Sin (x) b = Clip (a) y = Cos (b) }") ==
        "Cast:float Sin:float Clip:float Cos:float Cast:float16");
  CHECK(after("g (float16[2] x) => (float16[2] y) { a = Sin (x) y = Clip (a) }") ==
        "Cast:float Sin:float Cast:float16 Clip:float16");
}
TEST_CASE("half casts: casts of the model that undo them go") {
  CHECK(after("g (float[2] x) => (float[2] y) { a = Cast <to = 10> (x) b = Sin (a) y = Cast <to = "
              "1> (b) }") == "Sin:float Cast:float");  // an output keeps its Cast
  CHECK(after("g (float[2] x) => (float[2] y) { a = Cast <to = 10> (x) b = Sin (a) c = Cast <to = "
              "1> (b) y = Abs (c) }") == "Sin:float Abs:float");
}
TEST_CASE("half casts: casts that lose something stay") {
  CHECK(after("g (double[2] x) => (double[2] y) { a = Cast <to = 1> (x) b = Cast <to = 11> (a) y = "
              "Abs (b) }") == "Cast:float Cast:double Abs:double");
  CHECK(after("g (int64[2] x) => (int64[2] y) { a = Cast <to = 7> (x) b = Cast <to = 7> (a) y = "
              "Abs (b) }") == "Abs:int64");
}
TEST_CASE("half casts: subgraphs, which are not wrapped") {
  CHECK(after("g (float16[2] x, bool b) => (float16[2] y) { y = If (b) < then_branch = t () => "
              "(float16[2] p) "
              "{ p = Sin (x) }, else_branch = e () => (float16[2] q) { q = Identity (x) }> }") ==
        "If:float16");
}
TEST_CASE("half casts: a dtype attribute follows") {
  CHECK(
      after(
          "g (float16[2,2] x) => (float16[2,2] y) { a = EyeLike <dtype = 10> (x) y = Sin (a) }") ==
      "Cast:float EyeLike:float Sin:float Cast:float16");
}
}  // namespace onnxtool
