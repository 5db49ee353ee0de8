#include "libopt/rewrite/node_names.h"

#include <utility>

namespace onnxtool {

int make_node_names_unique(Graph& graph) {
  int renamed = 0;
  NodeNames taken;
  for (Node& n : graph.nodes()) {
    if (!n.name().empty())
      if (std::string name = taken.fresh(n.name()); name != n.name()) {
        graph.set_node_name(n, std::move(name));
        ++renamed;
      }
    n.for_each_subgraph([&](Graph& sub) { renamed += make_node_names_unique(sub); });
  }
  return renamed;
}

}  // namespace onnxtool
