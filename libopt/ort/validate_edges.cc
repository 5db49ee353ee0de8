// Edges of a .ort file's graphs, which must say what the names say, and recorded fusions. See
// validate.h.

#include <algorithm>
#include <deque>
#include <limits>
#include <tuple>
#include <vector>

#include "libopt/ort/validate_parts.h"

namespace onnxtool::ort_validation {
namespace {

/// (the other node, the producer's output, the consumer's slot), as the format stores them at both
/// ends.
using Edge = std::tuple<uint32_t, int32_t, int32_t>;

class EdgeChecker {
 public:
  EdgeChecker(FileFacts& file, const GraphIndex& graph) : file_(file), graph_(graph) {}

  void run() {
    check_edges();
    check_order();
  }

 private:
  void must(const std::string& place, std::string message) {
    file_.faults.must(place, std::move(message));
  }

  using Edges = std::vector<std::multiset<Edge>>;

  void expect(size_t consumer, const Names* names, int slot, Edges& in, Edges& out) {
    if (!names) return;
    for (const flatbuffers::String* s : *names) {
      if (const auto at = graph_.producers.find(view(s)); at != graph_.producers.end()) {
        const auto [node, output] = at->second;
        in[consumer].insert({graph_.nodes[node]->index(), output, slot});
        out[node].insert({graph_.nodes[consumer]->index(), output, slot});
        consumers_[node].push_back(consumer);
        ++producers_of_[consumer];
      }
      ++slot;
    }
  }

  void check_edges() {
    const size_t count = graph_.nodes.size();
    Edges in(count), out(count);
    consumers_.resize(count);
    producers_of_.resize(count);
    for (size_t i = 0; i < count; ++i) {
      const fb::Node& n = *graph_.nodes[i];
      if (!n.inputs() || file_.faults.spent()) continue;
      expect(i, n.inputs(), 0, in, out);
      expect(i, n.implicit_inputs(), static_cast<int>(n.inputs()->size()), in, out);
    }
    std::unordered_set<uint32_t> seen;
    if (graph_.graph.node_edges())
      for (const fb::NodeEdge* e : *graph_.graph.node_edges()) {
        const auto at = graph_.position.find(e->node_index());
        if (at == graph_.position.end())
          must(graph_.place,
               "node_edges names node " + number(e->node_index()) + ", which is none");
        else if (!seen.insert(e->node_index()).second)
          must(graph_.place_of(at->second), "stands twice in node_edges");
        else
          compare(at->second, *e, in[at->second], out[at->second]);
      }
    for (size_t i = 0; i < count; ++i)
      if (!seen.contains(graph_.nodes[i]->index()))
        must(graph_.place_of(i), "is absent in node_edges");
  }

  void compare(size_t i, const fb::NodeEdge& edge, const std::multiset<Edge>& in,
               const std::multiset<Edge>& out) {
    const auto collect = [&](const flatbuffers::Vector<const fb::EdgeEnd*>* ends) {
      std::multiset<Edge> found;
      if (ends && file_.faults.spend(ends->size()))
        for (const fb::EdgeEnd* e : *ends)
          found.insert({e->node_index(), e->src_arg_index(), e->dst_arg_index()});
      return found;
    };
    report(i, "input", "from", collect(edge.input_edges()), in);
    report(i, "output", "to", collect(edge.output_edges()), out);
  }

  void report(size_t i, const std::string& side, const std::string& toward,
              const std::multiset<Edge>& found, const std::multiset<Edge>& expected) {
    const auto say = [&](const std::multiset<Edge>& from, const std::multiset<Edge>& without,
                         const char* what) {
      std::vector<Edge> only;
      std::ranges::set_difference(from, without, std::back_inserter(only));
      if (only.empty()) return;
      const auto& [node, source, slot] = only.front();
      must(graph_.place_of(i), side + " edge " + toward + " node " + number(node) + " (output " +
                                   number(source) + ", input " + number(slot) + ") " + what);
    };
    say(expected, found, "is absent");
    say(found, expected, "joins nothing");
  }

  /// Kahn's order, on the edges that there should be.
  void check_order() {
    std::deque<size_t> ready;
    for (size_t i = 0; i < graph_.nodes.size(); ++i)
      if (producers_of_[i] == 0) ready.push_back(i);
    size_t done = 0;
    for (; !ready.empty(); ++done) {
      const size_t i = ready.front();
      ready.pop_front();
      for (const size_t next : consumers_[i])
        if (--producers_of_[next] == 0) ready.push_back(next);
    }
    if (done < graph_.nodes.size())
      must(graph_.place, number(static_cast<int64_t>(graph_.nodes.size() - done)) +
                             " nodes wait for one another in a cycle");
  }

  FileFacts& file_;
  const GraphIndex& graph_;
  std::vector<std::vector<size_t>> consumers_;
  std::vector<size_t> producers_of_;
};

void check_record(FileFacts& file, const GraphIndex& graph,
                  const fb::RuntimeOptimizationRecord& record, const std::string& place) {
  constexpr uint32_t kNoNode = std::numeric_limits<uint32_t>::max();
  if (view(record.action_id()).empty()) file.faults.must(place, "a record has no action");
  const fb::NodesToOptimizeIndices* indices = record.nodes_to_optimize_indices();
  if (!indices || !indices->node_indices() || indices->node_indices()->size() == 0)
    return file.faults.must(place, "a record has no nodes");
  for (const uint32_t index : *indices->node_indices())
    if (index != kNoNode && !graph.position.contains(index))
      file.faults.must(place, "a record names node " + number(index) + ", which is none");
  if (!record.produced_op_ids()) return;  // the node itself stays
  for (const flatbuffers::String* s : *record.produced_op_ids())
    file.op_ids.insert(std::string(view(s)));
}

}  // namespace

std::string GraphIndex::place_of(size_t i) const {
  return place + ": node " + number(nodes[i]->index()) + " (" +
         std::string(view(nodes[i]->op_type()).substr(0, 80)) + ")";
}

void check_edges(FileFacts& file, const GraphIndex& graph) { EdgeChecker(file, graph).run(); }

void check_records(FileFacts& file, const GraphIndex& graph) {
  const fb::RuntimeOptimizations* optimizations = graph.graph.runtime_optimizations();
  if (!optimizations || !optimizations->records()) return;
  constexpr std::string_view kOptimizers[] = {"ConvActivationFusion",
                                              "QDQSelectorActionTransformer", "MatMulNBitsFusion"};
  for (const auto* container : *optimizations->records()) {
    const std::string place =
        graph.place + ": fusions of " + quoted(view(container->optimizer_name()));
    if (std::ranges::find(kOptimizers, view(container->optimizer_name())) == std::end(kOptimizers))
      file.faults.must(place, "the runtime replays none of that optimizer");
    if (!container->runtime_optimization_records()) continue;
    for (const fb::RuntimeOptimizationRecord* record : *container->runtime_optimization_records())
      check_record(file, graph, *record, place);
  }
}

}  // namespace onnxtool::ort_validation
