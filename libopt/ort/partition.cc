// See partition.h. The grouping follows onnxruntime's partitioner.

#include "libopt/ort/partition.h"

#include <algorithm>
#include <deque>
#include <unordered_map>
#include <unordered_set>

#include "libopt/analysis/cost.h"

namespace onnxtool {
namespace {

using Nodes = std::unordered_set<const Node*>;

void collect_producers(const Graph& graph, const Node& node, Nodes& producers) {
  for (const Value* v : node.inputs())
    if (v && v->producer() && !v->producer()->is("Constant") && &v->graph() == &graph)
      producers.insert(v->producer());
  node.for_each_subgraph([&](const Graph& g) {
    for (const Node& inner : g.nodes()) collect_producers(graph, inner, producers);
  });
}

class Partitioner {
 public:
  Partitioner(const std::function<bool(const Node&)>& takes, PartMemory memory, Partition& out)
      : takes_(takes), memory_(memory), out_(out) {}

  void run(const Graph& graph, bool is_subgraph) {
    for (const Node* node : computing_nodes(graph)) {
      const auto producers = producers_of(graph, *node);
      waiting_[node] = producers.size();
      for (const Node* p : producers) consumers_[p].push_back(node);
    }
    // In the order of the graph, not of addresses.
    for (auto& [node, list] : consumers_) std::ranges::sort(list, {}, &Node::id);
    split(graph);
    find_borders(graph, is_subgraph);
    const auto nodes = static_cast<int>(computing_nodes(graph).size());
    out_.nodes += nodes;
    if (is_subgraph) out_.nodes_in_subgraphs += nodes;
    for (const Node& node : graph.nodes())
      node.for_each_subgraph(
          [&](const Graph& g) { Partitioner(takes_, memory_, out_).run(g, true); });
  }

 private:
  void split(const Graph& graph) {
    std::deque<const Node*> ready, behind_part;
    for (const Node* node : computing_nodes(graph))
      if (waiting_[node] == 0) ready.push_back(node);
    while (!ready.empty() || !behind_part.empty()) {
      if (ready.empty()) {
        close_part();
        ready.swap(behind_part);
        continue;
      }
      const Node* node = ready.front();
      ready.pop_front();
      const auto asked = answers_.find(node);
      const bool taken = asked != answers_.end() ? asked->second : (answers_[node] = takes_(*node));
      if (!taken && edge_.contains(node)) {
        behind_part.push_back(node);
        continue;
      }
      if (taken) take(*node);
      for (const Node* next : consumers_[node])
        if (--waiting_[next] == 0) ready.push_back(next);
    }
    close_part();
  }

  void take(const Node& node) {
    ++out_.taken;
    part_.push_back(&node);
    part_of_[&node] = out_.parts.size();
    edge_.erase(&node);
    edge_.insert(consumers_[&node].begin(), consumers_[&node].end());
  }

  void close_part() {
    if (!part_.empty()) out_.parts.push_back(std::move(part_));
    part_.clear();
    edge_.clear();
  }

  // Which part takes the node; nullopt: it is left. Parts on one device are one.
  std::optional<size_t> side_of(const Node& node) const {
    const auto it = part_of_.find(&node);
    if (it == part_of_.end()) return std::nullopt;
    return memory_ == PartMemory::kShared ? 0 : it->second;
  }

  void find_borders(const Graph& graph, bool is_subgraph) {
    for (const Value* v : graph.values()) {
      if (v->constant() || v->initializer()) continue;
      if (!v->producer() && !v->is_graph_input()) continue;
      // What a subgraph is given and gives belongs to the node that runs it.
      if (is_subgraph && !v->producer()) continue;
      const auto made = v->producer() ? side_of(*v->producer()) : std::nullopt;
      bool out = made && v->is_graph_output() && !is_subgraph, in = false;
      for (const Use& use : v->uses()) {
        const auto read = side_of(*use.user);
        if (&use.user->graph() != &graph || read == made) continue;
        out = out || made;
        in = in || read;
      }
      if (out) out_.borders.push_back({v, false, bytes_of(v->type())});
      if (in) out_.borders.push_back({v, true, bytes_of(v->type())});
    }
  }

  const std::function<bool(const Node&)>& takes_;
  const PartMemory memory_;
  Partition& out_;
  std::unordered_map<const Node*, std::vector<const Node*>> consumers_;
  std::unordered_map<const Node*, size_t> waiting_;
  std::unordered_map<const Node*, bool> answers_;
  std::unordered_map<const Node*, size_t> part_of_;  // of those that are taken
  Nodes edge_;                                       // that read from the open part
  std::vector<const Node*> part_;
};

}  // namespace

std::vector<const Node*> computing_nodes(const Graph& graph) {
  std::vector<const Node*> nodes;
  for (const Node& node : graph.nodes())
    if (!node.is("Constant")) nodes.push_back(&node);
  return nodes;
}

std::vector<const Node*> producers_of(const Graph& graph, const Node& node) {
  Nodes found;
  collect_producers(graph, node, found);
  std::vector<const Node*> out(found.begin(), found.end());
  std::ranges::sort(out, {}, &Node::id);
  return out;
}

Partition partition_graph(const Graph& graph, const std::function<bool(const Node&)>& takes,
                          PartMemory memory) {
  Partition out;
  Partitioner(takes, memory, out).run(graph, false);
  return out;
}

}  // namespace onnxtool
