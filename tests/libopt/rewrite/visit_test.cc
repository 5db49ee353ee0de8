// Visiting nodes that visits take away.

#include "libopt/rewrite/visit.h"

#include <doctest/doctest.h>

#include "libopt/analysis/seam.h"
#include "libopt/rewrite/rewriter.h"

namespace onnxtool {
namespace {

TEST_CASE("visit_nodes: later nodes may go, and new ones are not visited") {
  auto model = parse_text(
      "<ir_version: 8, opset_import: [\"\" : 13]> g (float[2] x) => (float[2] y) "
      "{ a = Relu (x) b = Relu (x) c = Relu (x) y = Abs (a) }");
  REQUIRE(model.ok());
  Graph& graph = (*model)->graph();
  std::string visited;
  visit_nodes(graph, [&](Node& n) {
    visited += n.output(0).name();
    if (!n.is("Relu")) return;
    Rewriter rw(graph, n.next());
    const Value& x = n.input(0);
    while (x.uses().size() > 1)
      rw.remove(*(x.uses()[0].user == &n ? x.uses()[1].user : x.uses()[0].user));
    rw.add_node("Neg", {&n.output(0)});
  });
  CHECK(visited == "ay");
  CHECK(graph.num_nodes() == 3);
}

}  // namespace
}  // namespace onnxtool
