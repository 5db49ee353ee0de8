#include "libopt/analysis/order.h"

#include <queue>
#include <vector>

namespace onnxtool {
namespace {

// Values of `graph` that `node` reads, its subgraphs' reads included.
void collect_reads(const Node& node, const Graph& graph, std::vector<Value*>& out) {
  for (Value* v : node.inputs())
    if (v && &v->graph() == &graph) out.push_back(v);
  node.for_each_subgraph([&](Graph& sub) {
    for (Node& n : sub.nodes()) collect_reads(n, graph, out);
    for (Value* v : sub.outputs())
      if (&v->graph() == &graph) out.push_back(v);
  });
}

}  // namespace

Status sort_topologically(Graph& graph) {
  const auto bound = static_cast<size_t>(graph.node_id_bound());
  std::vector<int> waiting(bound, 0), position(bound, 0);
  std::vector<std::vector<Node*>> followers(bound);
  bool sorted = true;
  int at = 0;
  for (Node& n : graph.nodes()) position[static_cast<size_t>(n.id())] = at++;
  std::vector<Value*> reads;
  for (Node& n : graph.nodes()) {
    reads.clear();
    collect_reads(n, graph, reads);
    for (Value* v : reads) {
      Node* p = v->producer();
      if (!p) continue;
      ++waiting[static_cast<size_t>(n.id())];
      followers[static_cast<size_t>(p->id())].push_back(&n);
      sorted &= position[static_cast<size_t>(p->id())] < position[static_cast<size_t>(n.id())];
    }
  }
  if (sorted) return {};
  // Kahn's algorithm; among ready nodes the earliest in the present order goes first.
  const auto later = [&](Node* a, Node* b) {
    return position[static_cast<size_t>(a->id())] > position[static_cast<size_t>(b->id())];
  };
  std::priority_queue<Node*, std::vector<Node*>, decltype(later)> ready(later);
  for (Node& n : graph.nodes())
    if (!waiting[static_cast<size_t>(n.id())]) ready.push(&n);
  std::vector<Node*> order;
  while (!ready.empty()) {
    Node* n = ready.top();
    ready.pop();
    order.push_back(n);
    for (Node* f : followers[static_cast<size_t>(n->id())])
      if (--waiting[static_cast<size_t>(f->id())] == 0) ready.push(f);
  }
  if (order.size() != graph.num_nodes()) {
    for (Node& n : graph.nodes())
      if (waiting[static_cast<size_t>(n.id())])
        return Error{ErrorCode::kBadModel, n.describe() + " is part of a cycle", {}};
  }
  for (Node* n : order) graph.move_before(*n, nullptr);
  return {};
}

}  // namespace onnxtool
