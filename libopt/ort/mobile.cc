// See mobile.h.

#include "libopt/ort/mobile.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "libopt/ir/operator_name.h"
#include "libopt/ort/since_version.h"

namespace onnxtool {
namespace {

enum Provider : uint8_t { kNnapi, kCoreMlNetwork, kCoreMlProgram, kXnnpack };

struct ProviderInfo {
  Provider id;
  std::string_view name, flag;
  bool needs_fixed_shapes;
  size_t max_rank;
  bool on_cpu;
};

constexpr size_t kAnyRank = 1000, kCoreMlRank = 5;
constexpr ProviderInfo kProviders[] = {
    {kNnapi, "NNAPI", "nnapi", true, kAnyRank, false},
    {kCoreMlNetwork, "CoreML NeuralNetwork", "coreml-network", true, kCoreMlRank, false},
    {kCoreMlProgram, "CoreML MLProgram", "coreml-program", true, kCoreMlRank, false},
    {kXnnpack, "XNNPACK", "xnnpack", false, kAnyRank, true}};

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

/// A tensor all of whose extents are known and positive.
bool is_fixed(const Value& value) {
  if (value.initializer() || value.constant()) return true;
  const auto dims = value.type().is_tensor() ? value.type().static_dims() : std::nullopt;
  return dims && std::ranges::all_of(*dims, [](int64_t d) { return d > 0; });
}

/// Nodes that the stop list keeps off, and everything behind them.
std::unordered_set<const Node*> stopped_nodes(const Graph& graph,
                                              const std::set<std::string>& stop_ops) {
  std::unordered_set<const Node*> stopped;
  std::unordered_map<const Node*, std::vector<const Node*>> consumers;
  std::vector<const Node*> open;
  for (const Node* node : computing_nodes(graph)) {
    if (stop_ops.contains(node->op_type())) open.push_back(node);
    for (const Node* p : producers_of(graph, *node)) consumers[p].push_back(node);
  }
  while (!open.empty()) {
    const Node* node = open.back();
    open.pop_back();
    if (!stopped.insert(node).second) continue;
    for (const Node* next : consumers[node]) open.push_back(next);
  }
  for (const Node& node : graph.nodes())
    node.for_each_subgraph([&](const Graph& g) { stopped.merge(stopped_nodes(g, stop_ops)); });
  return stopped;
}

/// What keeps nodes from a provider.
class Judge {
 public:
  Judge(const ProviderInfo& provider, bool shapes_count, std::unordered_set<const Node*> stopped)
      : provider_(provider), shapes_count_(shapes_count), stopped_(std::move(stopped)) {}

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

 private:
  const ProviderInfo& provider_;
  bool shapes_count_;
  std::unordered_set<const Node*> stopped_;
};

/// A copy to another device at each end of a partition costs more than a few nodes are worth.
MobileVerdict judge(const Partition& p, bool on_cpu) {
  if (p.nodes == 0 || p.taken == 0) return MobileVerdict::kNo;
  const double share = static_cast<double>(p.taken) / p.nodes;
  constexpr double kMost = 0.75, kHalf = 0.5;
  if (on_cpu || p.parts.size() == 1)
    return share > kMost   ? MobileVerdict::kYes
           : share > kHalf ? MobileVerdict::kMaybe
                           : MobileVerdict::kNo;
  return p.parts.size() == 2 && share > kMost ? MobileVerdict::kMaybe : MobileVerdict::kNo;
}

MobilePartitions partition(const Model& model, const ProviderInfo& provider, bool shapes_count,
                           const std::set<std::string>& stop_ops) {
  MobilePartitions out;
  const Judge judge_nodes(provider, shapes_count,
                          provider.id == kNnapi ? stopped_nodes(model.graph(), stop_ops)
                                                : std::unordered_set<const Node*>());
  const auto takes = [&](const Node& node) {
    const std::vector<MobileObstacle> obstacles = judge_nodes.obstacles_of(node);
    for (const MobileObstacle o : obstacles) ++out.obstacles[{full_operator_name(node), o}];
    if (!obstacles.empty()) return false;
    const MobileOp* op = find_op(provider.id, node);
    if (!op->condition.empty()) out.conditions.emplace(full_operator_name(node), op->condition);
    return true;
  };
  out.partition = partition_graph(model.graph(), takes,
                                  provider.on_cpu ? PartMemory::kShared : PartMemory::kCpuOnly);
  out.verdict = judge(out.partition, provider.on_cpu);
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

std::optional<MobilePartitions> partition_for(const Model& model, std::string_view provider,
                                              const std::set<std::string>& nnapi_stop_ops) {
  for (const ProviderInfo& p : kProviders)
    if (p.flag == provider) return partition(model, p, true, nnapi_stop_ops);
  return std::nullopt;
}

std::vector<std::string_view> mobile_providers() {
  std::vector<std::string_view> out;
  for (const ProviderInfo& p : kProviders) out.push_back(p.flag);
  return out;
}

std::vector<std::string> dynamic_inputs(const Model& model) {
  std::vector<std::string> names;
  for (const Value* v : model.graph().inputs())
    if (!is_fixed(*v)) names.push_back(v->name());
  return names;
}

}  // namespace onnxtool
