// Names of nodes that runtimes accept.
#include "libopt/rewrite/node_names.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "libopt/ir/graph.h"
#include "libopt/ir/model.h"

namespace onnxtool {
namespace {

TEST_CASE("the later of two nodes of one name gets another, which is free") {
  Model model;
  Graph& g = model.graph();
  Value* x = &g.add_value("", "x");
  for (const char* name : {"a", "a_1", "a", "", ""})
    g.add_node("Relu", "", name, {x}, {&g.add_value("", "y")});
  make_node_names_unique(g);
  std::vector<std::string> names;
  for (const Node& n : g.nodes()) names.push_back(n.name());
  CHECK(names == std::vector<std::string>{"a", "a_1", "a_2", "", ""});
}

}  // namespace
}  // namespace onnxtool
