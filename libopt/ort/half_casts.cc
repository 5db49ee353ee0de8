// See half_casts.h. Source of the rules: onnxruntime 1.31, optimizer/insert_cast_transformer.cc.

#include "libopt/ort/half_casts.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "libopt/ort/cpu_kernel.h"

namespace onnxtool {
namespace {

bool is_tensor_of(const Value& value, DataType dtype) {
  return value.type().is_tensor() && value.type().dtype == dtype;
}
bool is_half(const Value& value) { return is_tensor_of(value, DataType::kFloat16); }

bool reads_half(const Node& node) {
  return std::ranges::any_of(node.inputs(), [](const Value* v) { return v && is_half(*v); });
}

bool has_subgraph(const Node& node) {
  bool found = false;
  node.for_each_subgraph([&](const Graph&) { found = true; });
  return found;
}

/// A float tensor of the same shape.
ValueType as_float(ValueType type) {
  type.dtype = DataType::kFloat;
  return type;
}

class HalfCasts {
 public:
  explicit HalfCasts(Graph& graph) : graph_(graph) {}

  void run() {
    choose();
    for (Node& node : graph_.nodes())
      if (in_float_.contains(&node)) convert(node);
    for (Value* half : halves_) restore(*half);
    for (Node& node : graph_.nodes()) node.for_each_subgraph([](Graph& g) { insert_half_casts(g); });
  }

 private:
  void choose() {
    for (const Node& node : graph_.nodes()) {
      if (!reads_half(node) || has_subgraph(node)) continue;
      const CpuKernel kernel = find_cpu_kernel(node);
      if (kernel == CpuKernel::kNone || kernel == CpuKernel::kOtherTypes) in_float_.insert(&node);
    }
    // One after the other: each that joins makes its neighbours stand alone sooner.
    for (const Node& node : graph_.nodes())
      if (stands_alone(node)) in_float_.insert(&node);
  }

  /// Could run in float16, but everything around it runs in float.
  bool stands_alone(const Node& node) const {
    if (in_float_.contains(&node) || !reads_half(node) || has_subgraph(node) || !has_float_kernel(node)) return false;
    bool fed = false;
    for (const Value* v : node.inputs()) {
      if (!v || !v->producer() || &v->graph() != &graph_) continue;
      fed = true;
      if (is_half(*v) && !in_float_.contains(v->producer())) return false;
    }
    bool gives_half = false;
    for (const Value* v : node.outputs()) {
      if (!v) continue;
      if (v->is_graph_output()) return false;
      if (!is_half(*v)) continue;
      gives_half = true;
      for (const Use& use : v->uses())
        if (!in_float_.contains(use.user)) return false;
    }
    return fed && gives_half;
  }

  /// Cast, whose attribute says its output type, and what takes a dtype are left alone.
  static bool has_float_kernel(const Node& node) {
    if (node.is("Cast") || node.attribute("dtype")) return false;
    return find_cpu_kernel(node, [](const Value& v) { return is_half(v) ? as_float(v.type()) : v.type(); }) ==
           CpuKernel::kRuns;
  }

  void convert(Node& node) {
    for (int i = 0; i < node.num_inputs(); ++i)
      if (node.has_input(i) && is_half(node.input(i))) graph_.set_input(node, i, &float_of(node.input(i), node));
    if (node.attr<int64_t>("dtype", 0) == static_cast<int64_t>(DataType::kFloat16))
      node.set_attribute(Attribute::of("dtype", static_cast<int64_t>(DataType::kFloat)));
    for (int i = 0; i < node.num_outputs(); ++i) {
      if (!node.has_output(i) || !is_half(node.output(i))) continue;
      Value& half = node.output(i);
      Value& full = graph_.add_value({}, half.name() + "_float");
      full.set_type(as_float(half.type()));
      graph_.set_output_value(node, i, &full);
      float_of_.emplace(&half, &full);
      halves_.push_back(&half);
    }
  }

  /// The float that a half is or was made of, or a Cast before `reader`, the first node to ask.
  Value& float_of(Value& half, Node& reader) {
    if (const auto known = float_of_.find(&half); known != float_of_.end()) return *known->second;
    Node* producer = half.producer();
    if (producer && producer->is("Cast") && producer->has_input(0) && &half.graph() == &graph_ &&
        is_tensor_of(producer->input(0), DataType::kFloat))
      return producer->input(0);
    Value& full = add_cast(half, graph_.add_value({}, half.name() + "_float"), DataType::kFloat, &reader);
    full.set_type(as_float(half.type()));
    float_of_.emplace(&half, &full);
    return full;
  }

  /// Casts a converted node's output back for the readers that still want it.
  void restore(Value& half) {
    Value& full = *float_of_.at(&half);
    const std::vector<Use> uses = half.uses();
    for (const Use& use : uses) {
      Node& reader = *use.user;
      if (!reader.is("Cast") || &reader.graph() != &graph_ || !reader.has_output(0)) continue;
      Value& cast = reader.output(0);
      if (!is_tensor_of(cast, DataType::kFloat) || cast.is_graph_output()) continue;
      graph_.replace_uses(cast, full);
      graph_.remove_node(reader);
    }
    if (half.unused()) graph_.erase_value(half);
    else add_cast(full, half, DataType::kFloat16, full.producer()->next());
  }

  Value& add_cast(Value& from, Value& to, DataType dtype, Node* anchor) {
    graph_.add_node("Cast", "", "", {&from}, {&to}, make_cast_attribute(dtype), anchor);
    return to;
  }

  static std::vector<Attribute> make_cast_attribute(DataType dtype) {
    std::vector<Attribute> attributes;
    attributes.push_back(Attribute::of("to", static_cast<int64_t>(dtype)));
    return attributes;
  }

  Graph& graph_;
  std::unordered_set<const Node*> in_float_;
  std::unordered_map<const Value*, Value*> float_of_;
  std::vector<Value*> halves_;  // in order; outputs that now are floats
};

/// A Cast from float that nothing reads any more.
void drop_idle_casts(Graph& graph) {
  for (Node& node : graph.nodes())
    if (node.is("Cast") && node.num_inputs() == 1 && node.num_outputs() == 1 && node.has_output(0) && node.output(0).unused())
      graph.remove_node(node);
}

}  // namespace

void insert_half_casts(Graph& graph) {
  HalfCasts(graph).run();
  drop_idle_casts(graph);
}

}  // namespace onnxtool
