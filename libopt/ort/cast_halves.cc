// float16 where the runtime's CPU provider has no float16 kernel.
//
//   y = Op (x)     x, y: float16
//     =>
//   y = Cast <to = FLOAT16> (Op (Cast <to = FLOAT> (x)))
//
// A cast up that follows a cast down goes with it, so a chain of such nodes computes in float all through; a
// single node between two of them that could compute in float16 does not. The runtime does the same when it
// loads an .onnx file, whatever the level: with other casts the results would be other bits.
// Source: onnxruntime 1.31, its InsertCastTransformer; and the files that it saves.

#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "libopt/ort/cpu_kernel.h"
#include "libopt/ort/prepare.h"
#include "libopt/ort/since_version.h"

namespace onnxtool {
namespace {

bool is_half(const Value* v) { return v && v->type().is_tensor() && v->type().dtype == DataType::kFloat16; }

bool has_subgraph(const Node& n) {
  bool found = false;
  n.for_each_subgraph([&](Graph&) { found = true; });
  return found;
}

bool reads_half(const Node& n) {
  for (const Value* v : n.inputs())
    if (is_half(v)) return true;
  return false;
}

ValueType as_float(ValueType type) {
  type.dtype = DataType::kFloat;
  return type;
}

Tensor as_float(const Tensor& halves) {
  std::vector<float> out;
  out.reserve(static_cast<size_t>(halves.count()));
  for (const Half h : halves.values<Half>()) out.push_back(h);
  return Tensor::from(halves.dims(), out);
}

// Whether a kernel takes the node when its halves are floats.
bool runs_in_float(const Node& n) {
  std::vector<std::pair<Value*, ValueType>> kept;
  std::unordered_set<Value*> seen;
  for (const auto* list : {&n.inputs(), &n.outputs()})
    for (Value* v : *list)
      if (is_half(v) && seen.insert(v).second) kept.emplace_back(v, v->type());
  for (auto& [v, type] : kept) v->set_type(as_float(type));
  const bool runs = find_cpu_kernel(n) == CpuKernel::kRuns;
  for (auto& [v, type] : kept) v->set_type(std::move(type));
  return runs;
}

// One level; subgraphs have their own.
class Caster {
 public:
  Caster(Graph& graph, bool widen_weights) : graph_(graph), widen_weights_(widen_weights) {}

  int run() {
    std::vector<Node*> nodes;
    for (Node& n : graph_.nodes()) nodes.push_back(&n);
    for (const Node* n : nodes)
      if (!has_subgraph(*n) && reads_half(*n) && find_cpu_kernel(*n) == CpuKernel::kOtherTypes) chosen_.insert(n);
    if (chosen_.empty()) return 0;
    for (const Node* n : nodes)
      if (is_isolated(*n)) chosen_.insert(n);
    for (Node* n : nodes)
      if (chosen_.contains(n)) convert(*n);
    for (Node* down : casts_down_) cancel(*down);
    return static_cast<int>(chosen_.size());
  }

 private:
  // Runs in float16 between nodes none of which does. Of a variadic parameter the runtime looks at the
  // first argument only.
  bool is_isolated(const Node& n) const {
    const OrtSchema* schema = find_ort_schema(n.domain(), n.op_type(), n.opset());
    if (!schema || chosen_.contains(&n) || has_subgraph(n) || !reads_half(n)) return false;
    bool has_producer = false, writes_half = false;
    for (int i = 0; i < n.num_inputs(); ++i) {
      if (!n.has_input(i) || !n.input(i).producer() || &n.input(i).graph() != &graph_) continue;
      has_producer = true;
      if (i < schema->formal_inputs && is_half(&n.input(i)) && !chosen_.contains(n.input(i).producer())) return false;
    }
    for (const Value* v : n.outputs()) {
      if (!v) continue;
      if (v->is_graph_output()) return false;
      if (!is_half(v)) continue;
      writes_half = true;
      for (const Use& u : v->uses())
        if (!chosen_.contains(u.user)) return false;
    }
    return has_producer && writes_half && runs_in_float(n);
  }

  Node& add_cast(Value& from, Value& to, DataType type, Node* anchor) {
    Node& cast = graph_.add_node("Cast", "", "", {&from}, {&to}, {}, anchor);
    cast.set_attribute(Attribute::of("to", static_cast<int64_t>(type)));
    return cast;
  }

  // The value in float, before `user`.
  Value& float_of(Value& half, Node& user) {
    Value*& made = floats_[&half];
    if (made) return *made;
    const Node* producer = half.producer();
    const bool is_cast_down = producer && &half.graph() == &graph_ && producer->is("Cast") && producer->has_input(0) &&
                              producer->input(0).type().is_tensor() && producer->input(0).type().dtype == DataType::kFloat;
    if (is_cast_down) return *(made = &producer->input(0));
    if (widen_weights_ && half.constant() && half.initializer() && &half.graph() == &graph_)
      return *(made = &graph_.add_initializer(as_float(*half.constant()), "", half.name()));
    made = &graph_.add_value("", half.name() + "_float");
    made->set_type(as_float(half.type()));
    add_cast(half, *made, DataType::kFloat, &user);
    return *made;
  }

  void convert(Node& n) {
    for (int i = 0; i < n.num_inputs(); ++i)
      if (n.has_input(i) && is_half(&n.input(i))) graph_.set_input(n, i, &float_of(n.input(i), n));
    if (n.attr<int64_t>("dtype", 0) == static_cast<int64_t>(DataType::kFloat16))
      n.set_attribute(Attribute::of("dtype", static_cast<int64_t>(DataType::kFloat)));
    for (int i = 0; i < n.num_outputs(); ++i) {
      if (!n.has_output(i) || !is_half(&n.output(i))) continue;
      Value& half = n.output(i);
      Value& made = graph_.add_value("", half.name() + "_float");
      made.set_type(as_float(half.type()));
      graph_.set_output_value(n, i, nullptr);
      graph_.set_output_value(n, i, &made);
      floats_[&half] = &made;
      casts_down_.push_back(&add_cast(made, half, DataType::kFloat16, n.next()));
    }
  }

  // Casts of the model that read what was cast down read the float instead; a cast that nobody reads goes.
  void cancel(Node& down) {
    Value& half = down.output(0);
    bool only_casts = !half.is_graph_output();
    const std::vector<Use> uses = half.uses();
    for (const Use& u : uses) only_casts &= u.user->is("Cast") && &u.user->graph() == &graph_;
    for (const Use& u : uses) {
      Node& up = *u.user;
      if (!up.is("Cast") || &up.graph() != &graph_ || !up.has_output(0)) continue;
      const bool to_float = up.attr<int64_t>("to", 0) == static_cast<int64_t>(DataType::kFloat);
      if (to_float && !up.output(0).is_graph_output()) {
        graph_.replace_uses(up.output(0), down.input(0));
        graph_.remove_node(up);
      } else if (only_casts) {
        graph_.set_input(up, 0, &down.input(0));
      }
    }
    if (half.unused()) graph_.remove_node(down);
  }

  Graph& graph_;
  bool widen_weights_;
  std::unordered_set<const Node*> chosen_;
  std::unordered_map<const Value*, Value*> floats_;
  std::vector<Node*> casts_down_;
};

}  // namespace

int cast_halves(Graph& graph, bool widen_weights) {
  int count = 0;
  for (Node& n : graph.nodes()) n.for_each_subgraph([&](Graph& sub) { count += cast_halves(sub, widen_weights); });
  return count + Caster(graph, widen_weights).run();
}

}  // namespace onnxtool
