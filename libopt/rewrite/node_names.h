// Node names that nobody else has: runtimes refuse two nodes of one name.
#pragma once

#include <string>
#include <unordered_map>

#include "libopt/ir/graph.h"

namespace onnxtool {

class NodeNames {
 public:
  NodeNames() = default;
  explicit NodeNames(const Graph& graph) {
    for (const Node& n : graph.nodes()) used_.emplace(n.name(), 0);
  }

  /// `base`, or with the first free suffix.
  std::string fresh(const std::string& base) {
    const auto [it, fresh] = used_.emplace(base, 0);
    if (fresh) return base;
    // The name remembers its last suffix: a model may read one weight in many layers.
    int& last = it->second;
    std::string name;
    do name = base + "_" + std::to_string(++last);
    while (!used_.emplace(name, 0).second);
    return name;
  }

 private:
  std::unordered_map<std::string, int> used_;  // with the last suffix given away
};

/// Gives nodes new names whose name an earlier node of their graph has; in subgraphs too.
/// Returns how many.
int make_node_names_unique(Graph& graph);

}  // namespace onnxtool
