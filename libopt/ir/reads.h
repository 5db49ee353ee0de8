// What a node reads, its subgraphs included.
#pragma once

#include "libopt/ir/graph.h"

namespace onnxtool {

namespace reads {

inline bool encloses(const Graph& outer, const Graph& graph) {
  for (const Graph* g = &graph; g; g = g->parent())
    if (g == &outer) return true;
  return false;
}

// Of what `graph`, which is below `outermost`, reads: values of that and of graphs around it.
template <class F>
void for_each_outer_read(const Graph& graph, const Graph& outermost, F& f) {
  const auto note = [&](Value* v) {
    if (v && encloses(v->graph(), outermost)) f(*v);
  };
  for (Node& n : graph.nodes()) {
    for (Value* v : n.inputs()) note(v);
    n.for_each_subgraph([&](Graph& sub) { for_each_outer_read(sub, outermost, f); });
  }
  for (Value* v : graph.outputs()) note(v);
}

}  // namespace reads

/// Calls f(Value&) for each reading of a value of the node's graph, or of one around that, by the
/// node's subgraphs.
template <class F>
void for_each_captured(const Node& node, F&& f) {
  node.for_each_subgraph([&](Graph& sub) { reads::for_each_outer_read(sub, node.graph(), f); });
}

/// The same, and for each of the node's own inputs.
template <class F>
void for_each_read(const Node& node, F&& f) {
  for (Value* v : node.inputs())
    if (v) f(*v);
  for_each_captured(node, f);
}

}  // namespace onnxtool
