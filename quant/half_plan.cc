// Which nodes compute in 16 bits.

#include <algorithm>
#include <cmath>
#include <set>

#include "quant/half.h"
#include "quant/half_reasons.h"
#include "quant/weigh.h"

namespace onnxtool {
namespace {

constexpr double kImpossible = 1e6;  // beyond all Casts of a model

class Planner {
 public:
  Planner(const Model& model, const HalfOptions& options, const MeasuredRanges* ranges,
          HalfConstants& constants)
      : graph_(model.graph()),
        options_(options),
        nodes_(all_nodes(model.graph())),
        why_(graph_, nodes_, options, ranges, constants) {}

  HalfPlan run() {
    HalfPlan plan;
    plan.half.assign(nodes_.size(), false);
    reasons_.assign(nodes_.size(), nullptr);
    for (size_t i = 0; i < nodes_.size(); ++i) add_node(i);
    add_ends();
    add_values();
    const std::vector<bool> side = cheapest_placement(weighed_, tensors_);
    for (size_t i = 0; i < nodes_.size(); ++i) {
      const auto v = vertex_.find(nodes_[i]);
      plan.half[i] = v != vertex_.end() && side[static_cast<size_t>(v->second)];
      if (v == vertex_.end() && !reasons_[i]) continue;
      NodeDecision d;
      d.node = nodes_[i];
      d.integer = plan.half[i];
      if (d.integer) d.kernel = name(options_.type);
      if (!d.integer) d.reason = reasons_[i] ? reasons_[i] : "would take more Casts than it saves";
      plan.decisions.push_back(d);
    }
    const auto chosen = [&](int vertex) {
      return vertex >= 0 && side[static_cast<size_t>(vertex)];
    };
    for (const int v : input_vertex_) plan.inputs.push_back(chosen(v));
    for (const int v : output_vertex_) plan.outputs.push_back(chosen(v));
    return plan;
  }

 private:
  int add_vertex(double float_cost, double half_cost) {
    weighed_.push_back({float_cost, half_cost});
    return static_cast<int>(weighed_.size()) - 1;
  }

  void add_node(size_t i) {
    const Node& n = *nodes_[i];
    if (n.is("Constant")) return;
    const HalfPlaces places = half_places(n, options_.type);
    if (places.inputs.empty() && places.outputs.empty() && places.fixed_inputs.empty() &&
        places.fixed_outputs.empty())
      return;
    reasons_[i] = why_.why_not(n, places);
    const bool core = is_half_core(n) || (!n.domain().empty() && places.known);
    // A core is worth any Cast; of the others each saves less than one.
    constexpr double kCoreGain = 50, kOtherGain = 0.25;
    const int v =
        reasons_[i] ? add_vertex(0, kImpossible) : add_vertex(core ? kCoreGain : kOtherGain, 0);
    vertex_[&n] = v;
    for (const int o : places.outputs) maker_[&n.output(o)] = v;
    for (const int k : places.inputs)
      if (!n.input(k).constant()) readers_[&n.input(k)].push_back(v);
    for (const int k : places.fixed_inputs)
      if (!n.input(k).constant()) ++fixed_[&n.input(k)];
  }

  // Inputs and outputs of the model, each as free as a node; those of bodies stay float32.
  void add_ends() {
    constexpr double kEndGain = 0.5;
    for (Value* v : graph_.inputs()) {
      const bool free = !options_.keep_io_types && is_float_tensor(*v) && !v->initializer() &&
                        !v->is_graph_output() && !why_.why_not_value(*v);
      input_vertex_.push_back(free ? add_vertex(kEndGain, 0) : -1);
      if (free) maker_[v] = input_vertex_.back();
    }
    std::set<const Value*> seen;
    for (const Value* v : graph_.outputs()) {
      const bool free = !options_.keep_io_types && is_float_tensor(*v) && v->producer() &&
                        !v->constant() && seen.insert(v).second && !why_.why_not_value(*v);
      output_vertex_.push_back(free ? add_vertex(kEndGain, 0) : -1);
      if (free)
        readers_[v].push_back(output_vertex_.back());
      else
        ++fixed_[v];
    }
    for (const Node* n : nodes_)
      n->for_each_subgraph([&](Graph& g) {
        for (const Value* v : g.outputs()) ++fixed_[v];
      });
  }

  static double cast_cost(const Value& v) {
    // One Cast is one Cast; of two places the smaller tensor is the better one.
    double count = 1;
    if (v.type().shape)
      for (const Dim& d : *v.type().shape)
        count *= static_cast<double>(std::max<int64_t>(d.value.value_or(16), 1));
    return 1 + std::log2(1 + count) / 64;
  }

  void add_values() {
    // In the order of nodes: the cut among equals does not depend on addresses.
    std::set<const Value*> done;
    const auto add = [&](const Value* v) {
      if (!v || !is_float_tensor(*v) || v->constant() || !done.insert(v).second) return;
      const double cost = cast_cost(*v);
      const auto maker = maker_.find(v);
      const std::vector<int>& readers = readers_[v];
      if (maker == maker_.end()) {
        tensors_.push_back({-1, readers, 0, cost, 0});
        return;
      }
      // One Cast down for all readers in 16 bits, and one Cast up for all others, which read
      // `wide`: float32 as soon as one of them is.
      const int wide = add_vertex(0, fixed_.contains(v) ? kImpossible : 0);
      tensors_.push_back({maker->second, {wide}, 0, 0, cost});
      tensors_.push_back({wide, readers, 0, 0, kImpossible});
      tensors_.push_back({maker->second, readers, 0, cost, 0});
    };
    for (const Value* v : graph_.inputs()) add(v);
    for (const Node* n : nodes_) {
      for (const Value* v : n->inputs()) add(v);
      for (const Value* v : n->outputs()) add(v);
    }
  }

  const Graph& graph_;
  const HalfOptions& options_;
  const std::vector<Node*> nodes_;
  HalfReasons why_;
  std::vector<const char*> reasons_;  // by node; nullptr: may be 16-bit
  std::unordered_map<const Node*, int> vertex_;
  std::unordered_map<const Value*, int> maker_;                 // vertex of who makes it
  std::unordered_map<const Value*, std::vector<int>> readers_;  // vertices
  std::unordered_map<const Value*, int> fixed_;                 // readers that want float32 always
  std::vector<int> input_vertex_, output_vertex_;               // -1: float32 whatever is decided
  std::vector<WeighedNode> weighed_;
  std::vector<WeighedTensor> tensors_;
};

}  // namespace

HalfPlan plan_half(const Model& model, const HalfOptions& options, const MeasuredRanges* ranges,
                   HalfConstants& constants) {
  return Planner(model, options, ranges, constants).run();
}

}  // namespace onnxtool
