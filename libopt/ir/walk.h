// Nodes of a graph and of all graphs below it.
#pragma once

#include "libopt/ir/graph.h"

namespace onnxtool {

/// Calls f(node) for each, nodes before what their subgraphs hold.
template <class F>
void for_each_node(const Graph& graph, F&& f) {
  for (Node& n : graph.nodes()) {
    f(n);
    n.for_each_subgraph([&](Graph& sub) { for_each_node(sub, f); });
  }
}

/// The same, what subgraphs hold before the node that has them.
template <class F>
void for_each_node_inside_first(const Graph& graph, F&& f) {
  for (Node& n : graph.nodes()) {
    n.for_each_subgraph([&](Graph& sub) { for_each_node_inside_first(sub, f); });
    f(n);
  }
}

}  // namespace onnxtool
