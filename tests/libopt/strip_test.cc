// What --strip takes away, and what it leaves.
#include "libopt/convert/strip.h"

#include <doctest/doctest.h>

#include "libopt/analysis/seam.h"

namespace onnxtool {

TEST_CASE("strip removes doc strings, metadata and names of nodes, and no more") {
  auto model = parse_text(
      "<ir_version: 10, opset_import: [\"\" : 21]> g (bool c, float[2] x) => (float[2] y) {"
      "[outer] y = If <then_branch = t () => (float[2] a) { [one] a = Relu (x) },"
      " else_branch = e () => (float[2] b) { [two] b = Neg (x) }> (c) }");
  REQUIRE(model.ok());
  Model& m = **model;
  m.doc = "about";
  m.metadata = {{"labels", "a,b"}};
  m.graph().doc = "a graph";
  m.graph().metadata = {{"k", "v"}};
  m.graph().inputs()[1]->doc = "an input";
  for (Node& n : m.graph().nodes()) {
    n.doc = "a node";
    n.metadata = {{"k", "v"}, {"l", "w"}};
  }
  // The model's, the graph's two, the input's, the node's three and its name, two names inside.
  CHECK(strip(m) == 10);
  CHECK(strip(m) == 0);
  CHECK(m.doc.empty());
  CHECK(m.metadata.size() == 1);
  CHECK(m.graph().inputs()[1]->name() == "x");
  for (const Node& n : m.graph().nodes()) {
    CHECK(n.name().empty());
    n.for_each_subgraph([](Graph& sub) {
      for (const Node& inner : sub.nodes()) CHECK(inner.name().empty());
    });
  }
}

}  // namespace onnxtool
