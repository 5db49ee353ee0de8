#include "libopt/rewrite/node_names.h"

#include <utility>

namespace onnxtool {

void make_node_names_unique(Graph& graph) {
  NodeNames taken;
  for (Node& n : graph.nodes()) {
    if (!n.name().empty())
      if (std::string name = taken.fresh(n.name()); name != n.name())
        graph.set_node_name(n, std::move(name));
    n.for_each_subgraph([](Graph& sub) { make_node_names_unique(sub); });
  }
}

}  // namespace onnxtool
