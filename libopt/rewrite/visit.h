// Walks over a graph while it is edited.
#pragma once

#include <vector>

#include "libopt/ir/graph.h"

namespace onnxtool {

/// Calls `visit` for every node that the graph has now, in order, whatever visits take away: a node
/// that is gone by its turn is left out. Nodes that visits add are not visited. A plain loop over
/// Graph::nodes() allows for the removal of the current node and of earlier ones only.
template <class Visit>
void visit_nodes(Graph& graph, const Visit& visit) {
  std::vector<int> ids;
  ids.reserve(graph.num_nodes());
  for (const Node& n : graph.nodes()) ids.push_back(n.id());
  for (const int id : ids)
    if (Node* n = graph.node(id)) visit(*n);
}

}  // namespace onnxtool
