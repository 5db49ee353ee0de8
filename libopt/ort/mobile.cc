// See mobile.h. The grouping of nodes follows the runtime's partitioner: nodes are taken as their
// producers are done, and an unsupported node that reads from the open group waits until that group
// is closed.

#include "libopt/ort/mobile.h"

#include <algorithm>
#include <deque>
#include <unordered_map>
#include <unordered_set>

#include "libopt/ort/since_version.h"

namespace onnxtool {
namespace {

enum Provider : uint8_t { kNnapi, kCoreMlNetwork, kCoreMlProgram, kXnnpack };

struct ProviderInfo {
  Provider id;
  std::string_view name;
  bool needs_fixed_shapes;
  size_t max_rank;
  bool on_cpu;
};

constexpr size_t kAnyRank = 1000, kCoreMlRank = 5;
constexpr ProviderInfo kProviders[] = {
    {kNnapi, "NNAPI", true, kAnyRank, false},
    {kCoreMlNetwork, "CoreML NeuralNetwork", true, kCoreMlRank, false},
    {kCoreMlProgram, "CoreML MLProgram", true, kCoreMlRank, false},
    {kXnnpack, "XNNPACK", false, kAnyRank, true}};

struct MobileOp {
  Provider provider;
  std::string_view domain, op;
  int first_version;
  std::string_view condition;
};

constexpr MobileOp kOps[] = {
#define MOBILE_OP(provider, domain, op, first, condition) {provider, domain, op, first, condition},
#include "libopt/ort/mobile_ops.def"
#undef MOBILE_OP
};

const MobileOp* find_op(Provider provider, const Node& node) {
  for (const MobileOp& o : kOps)
    if (o.provider == provider && o.op == node.op_type() && o.domain == node.domain()) return &o;
  return nullptr;
}

std::string full_name(const Node& node) {
  return (node.domain().empty() ? "ai.onnx" : node.domain()) + "." + node.op_type();
}

/// A tensor all of whose extents are known and positive.
bool is_fixed(const Value& value) {
  if (value.initializer() || value.constant()) return true;
  const auto dims = value.type().is_tensor() ? value.type().static_dims() : std::nullopt;
  return dims && std::ranges::all_of(*dims, [](int64_t d) { return d > 0; });
}

using Nodes = std::unordered_set<const Node*>;

/// Constants count as initializers, which they become.
std::vector<const Node*> computing_nodes(const Graph& graph) {
  std::vector<const Node*> nodes;
  for (const Node& node : graph.nodes())
    if (!node.is("Constant")) nodes.push_back(&node);
  return nodes;
}

class Partitioner {
 public:
  Partitioner(const ProviderInfo& provider, bool shapes_count,
              const std::set<std::string>& stop_ops, MobilePartitions& out)
      : provider_(provider), shapes_count_(shapes_count), stop_ops_(stop_ops), out_(out) {}

  void run(const Graph& graph, bool is_subgraph) {
    connect(graph);
    stop(graph);
    split(graph);
    const auto nodes = static_cast<int>(computing_nodes(graph).size());
    out_.nodes += nodes;
    if (is_subgraph) out_.nodes_in_subgraphs += nodes;
    for (const Node& node : graph.nodes())
      node.for_each_subgraph([&](const Graph& g) {
        Partitioner(provider_, shapes_count_, stop_ops_, out_).run(g, true);
      });
  }

 private:
  /// What a node of the graph, or a subgraph of it, reads from other nodes of the graph.
  void connect(const Graph& graph) {
    for (const Node* node : computing_nodes(graph)) {
      Nodes producers;
      collect_producers(graph, *node, producers);
      waiting_[node] = producers.size();
      for (const Node* p : producers) consumers_[p].push_back(node);
    }
    // In the order of the graph, not of addresses.
    for (auto& [node, list] : consumers_) std::ranges::sort(list, {}, &Node::id);
  }

  static void collect_producers(const Graph& graph, const Node& node, Nodes& producers) {
    for (const Value* v : node.inputs())
      if (v && v->producer() && !v->producer()->is("Constant") && &v->graph() == &graph)
        producers.insert(v->producer());
    node.for_each_subgraph([&](const Graph& g) {
      for (const Node& inner : g.nodes()) collect_producers(graph, inner, producers);
    });
  }

  /// Nodes that the stop list keeps off, and everything behind them.
  void stop(const Graph& graph) {
    std::vector<const Node*> open;
    for (const Node& node : graph.nodes())
      if (provider_.id == kNnapi && stop_ops_.contains(node.op_type())) open.push_back(&node);
    while (!open.empty()) {
      const Node* node = open.back();
      open.pop_back();
      if (!stopped_.insert(node).second) continue;
      for (const Node* next : consumers_[node]) open.push_back(next);
    }
  }

  std::vector<MobileObstacle> obstacles_of(const Node& node) const {
    std::vector<MobileObstacle> found;
    const MobileOp* op = find_op(provider_.id, node);
    if (!op)
      found.push_back(MobileObstacle::kOperator);
    else if (ort_since_version(node.domain(), node.op_type(), node.opset())
                 .value_or(op->first_version) < op->first_version)
      found.push_back(MobileObstacle::kVersion);
    if (stopped_.contains(&node)) found.push_back(MobileObstacle::kStopped);
    const auto each = [&](const auto& test) {
      return std::ranges::all_of(node.inputs(), [&](const Value* v) { return !v || test(*v); });
    };
    if (shapes_count_ && provider_.needs_fixed_shapes && !each(is_fixed))
      found.push_back(MobileObstacle::kDynamicShape);
    const auto fits = [&](const Value& v) {
      return !v.type().shape || v.type().shape->size() <= provider_.max_rank;
    };
    const Attribute* perm = node.is("Transpose") ? node.attribute("perm") : nullptr;
    const auto* axes = perm ? perm->get<std::vector<int64_t>>() : nullptr;
    if ((shapes_count_ && !each(fits)) || (axes && axes->size() > provider_.max_rank))
      found.push_back(MobileObstacle::kRank);
    return found;
  }

  void split(const Graph& graph) {
    std::deque<const Node*> ready, behind_group;
    for (const Node* node : computing_nodes(graph))
      if (waiting_[node] == 0) ready.push_back(node);
    while (!ready.empty() || !behind_group.empty()) {
      if (ready.empty()) {
        close_group();
        ready.swap(behind_group);
        continue;
      }
      const Node* node = ready.front();
      ready.pop_front();
      const std::vector<MobileObstacle> obstacles = obstacles_of(*node);
      if (!obstacles.empty() && border_.contains(node)) {
        behind_group.push_back(node);
        continue;
      }
      for (const MobileObstacle o : obstacles) ++out_.obstacles[{full_name(*node), o}];
      if (obstacles.empty()) take(*node);
      for (const Node* next : consumers_[node])
        if (--waiting_[next] == 0) ready.push_back(next);
    }
    close_group();
  }

  void take(const Node& node) {
    ++out_.supported;
    ++group_;
    border_.erase(&node);
    border_.insert(consumers_[&node].begin(), consumers_[&node].end());
    const MobileOp* op = find_op(provider_.id, node);
    if (!op->condition.empty()) out_.conditions.emplace(full_name(node), op->condition);
  }

  void close_group() {
    if (group_ > 0) out_.sizes.push_back(group_);
    group_ = 0;
    border_.clear();
  }

  const ProviderInfo& provider_;
  bool shapes_count_;
  const std::set<std::string>& stop_ops_;
  MobilePartitions& out_;
  std::unordered_map<const Node*, std::vector<const Node*>> consumers_;
  std::unordered_map<const Node*, size_t> waiting_;
  Nodes stopped_, border_;
  int group_ = 0;
};

/// A copy to another device at each end of a partition costs more than a few nodes are worth.
MobileVerdict judge(const MobilePartitions& p, bool on_cpu) {
  if (p.nodes == 0 || p.supported == 0) return MobileVerdict::kNo;
  const double share = static_cast<double>(p.supported) / p.nodes;
  constexpr double kMost = 0.75, kHalf = 0.5;
  if (on_cpu || p.sizes.size() == 1)
    return share > kMost   ? MobileVerdict::kYes
           : share > kHalf ? MobileVerdict::kMaybe
                           : MobileVerdict::kNo;
  return p.sizes.size() == 2 && share > kMost ? MobileVerdict::kMaybe : MobileVerdict::kNo;
}

MobilePartitions partition(const Model& model, const ProviderInfo& provider, bool shapes_count,
                           const std::set<std::string>& stop_ops) {
  MobilePartitions out;
  Partitioner(provider, shapes_count, stop_ops, out).run(model.graph(), false);
  out.verdict = judge(out, provider.on_cpu);
  return out;
}

}  // namespace

std::string_view name(MobileVerdict verdict) {
  return verdict == MobileVerdict::kYes ? "yes" : verdict == MobileVerdict::kMaybe ? "maybe" : "no";
}

std::string_view describe(MobileObstacle obstacle) {
  switch (obstacle) {
    case MobileObstacle::kOperator: return "not supported";
    case MobileObstacle::kVersion: return "needs a newer opset";
    case MobileObstacle::kDynamicShape: return "an input of dynamic shape";
    case MobileObstacle::kRank: return "an input of too high a rank";
    case MobileObstacle::kStopped: return "a stop operator, or behind one";
  }
  return "";
}

std::vector<MobileUsability> check_mobile(const Model& model,
                                          const std::set<std::string>& nnapi_stop_ops) {
  const bool dynamic = !dynamic_inputs(model).empty();
  std::vector<MobileUsability> out;
  for (const ProviderInfo& provider : kProviders) {
    MobileUsability u{provider.name, partition(model, provider, true, nnapi_stop_ops), {}};
    if (dynamic && provider.needs_fixed_shapes && u.as_is.verdict != MobileVerdict::kYes)
      u.if_fixed = partition(model, provider, false, nnapi_stop_ops);
    out.push_back(std::move(u));
  }
  return out;
}

std::vector<std::string> dynamic_inputs(const Model& model) {
  std::vector<std::string> names;
  for (const Value* v : model.graph().inputs())
    if (!is_fixed(*v)) names.push_back(v->name());
  return names;
}

}  // namespace onnxtool
