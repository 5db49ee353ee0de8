#include "libopt/target/joined_sum.h"

#include <doctest/doctest.h>

#include "libopt/analysis/seam.h"
#include "libopt/ir/model.h"

namespace onnxtool {
namespace {

// Whether some product of the model is joined with the sum behind it.
bool joins(const std::string& body) {
  auto model = parse_text(
      "<ir_version: 10, opset_import: [\"\" : 17]> g (float[2,3] x, float[3,4] w, "
      "float[3] s, float[4] b) => (float[2,4] y) " +
      body);
  REQUIRE_MESSAGE(model.ok(), (model.ok() ? "" : model.error().message));
  bool found = false;
  for (const Node& n : (*model)->graph().nodes()) found |= joined_sum(n) != nullptr;
  return found;
}

}  // namespace

TEST_CASE("joined sums: of any rank, and of nodes that lack inputs and outputs") {
  CHECK(joins("{ t = MatMul (x, w) y = Add (t, b) }"));
  CHECK(joins("{ t = MatMul (x, w) y = Add (b, t) }"));
  CHECK(!joins("{ t = MatMul (x, w) y = Add (, t) }"));
  CHECK(!joins("{ t = MatMul (x, w) y = Add (t) }"));
  CHECK(!joins("{ t = MatMul (x, w) y = Sum (t, b) }"));
  // The product reads a result of a normalization that has no first one.
  joins("{ , m = LayerNormalization (x, s) t = MatMul (m, w) y = Add (t, b) }");
  // Of three that look like attention's.
  joins(
      "{ l = LayerNormalization (x, s) p = MatMul (l, w) q = MatMul (l, w) t = MatMul (l, w) "
      "u = Add (l) y = Add (t, b) }");
}

}  // namespace onnxtool
