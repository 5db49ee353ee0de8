// See half_casts.h. Source of the rules: onnxruntime 1.31, optimizer/insert_cast_transformer.cc.

#include "libopt/ort/half_casts.h"

#include <algorithm>
#include <functional>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "libopt/ort/cpu_kernel.h"
#include "libopt/ort/since_version.h"

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

using Nodes = std::unordered_set<const Node*>;

class HalfCasts {
 public:
  /// The casts that it makes go into `inserted`.
  HalfCasts(Graph& graph, Nodes& inserted) : graph_(graph), inserted_(inserted) {}

  void run() {
    choose();
    for (Node& node : graph_.nodes())
      if (in_float_.contains(&node)) convert(node);
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

  /// Could run in float16, but what it reads and what reads it runs in float. Of a variadic
  /// parameter only the first value counts.
  bool stands_alone(const Node& node) const {
    if (in_float_.contains(&node) || has_subgraph(node) || !has_float_kernel(node)) return false;
    const OrtSchema* schema = find_ort_schema(node.domain(), node.op_type(), node.opset());
    bool fed = false, reads_half = false, gives_half = false;
    for (int i = 0; i < node.num_inputs(); ++i) {
      if (!node.has_input(i)) continue;
      const Value& v = node.input(i);
      const bool by_node = v.producer() && !v.producer()->is("Constant") && &v.graph() == &graph_;
      fed = fed || by_node;
      if (i >= schema->formal_inputs || !is_half(v)) continue;
      reads_half = true;
      if (by_node && !in_float_.contains(v.producer())) return false;
    }
    for (const Value* v : node.outputs()) {
      if (!v) continue;
      if (v->is_graph_output()) return false;
      if (!is_half(*v)) continue;
      gives_half = true;
      for (const Use& use : v->uses())
        if (!in_float_.contains(use.user)) return false;
    }
    return fed && reads_half && gives_half;
  }

  static bool has_float_kernel(const Node& node) {
    return find_cpu_kernel(node, [](const Value& v) {
             return is_half(v) ? as_float(v.type()) : v.type();
           }) == CpuKernel::kRuns;
  }

  void convert(Node& node) {
    for (int i = 0; i < node.num_inputs(); ++i)
      if (node.has_input(i) && is_half(node.input(i)))
        graph_.set_input(node, i, &float_of(node.input(i), node));
    if (node.attr<int64_t>("dtype", 0) == static_cast<int64_t>(DataType::kFloat16))
      node.set_attribute(Attribute::of("dtype", static_cast<int64_t>(DataType::kFloat)));
    for (int i = 0; i < node.num_outputs(); ++i) {
      if (!node.has_output(i) || !is_half(node.output(i))) continue;
      Value& half = node.output(i);
      Value& full = add_float(half);
      graph_.set_output_value(node, i, &full);
      add_cast(full, half, DataType::kFloat16, node.next());
    }
  }

  /// A Cast of `half`, before the first node that asks.
  Value& float_of(Value& half, Node& reader) {
    Value*& full = float_of_[&half];
    if (!full) {
      full = &add_float(half);
      add_cast(half, *full, DataType::kFloat, &reader);
    }
    return *full;
  }

  Value& add_float(const Value& half) {
    Value& full = graph_.add_value({}, half.name() + "_float");
    full.set_type(as_float(half.type()));
    return full;
  }

  void add_cast(Value& from, Value& to, DataType dtype, Node* anchor) {
    std::vector<Attribute> attributes;
    attributes.push_back(Attribute::of("to", static_cast<int64_t>(dtype)));
    inserted_.insert(
        &graph_.add_node("Cast", "", "", {&from}, {&to}, std::move(attributes), anchor));
  }

  Graph& graph_;
  Nodes& inserted_;
  Nodes in_float_;
  std::unordered_map<const Value*, Value*> float_of_;
};

enum class TypeGroup : uint8_t { kNone, kBool, kSigned, kUnsigned, kFloat };

TypeGroup group_of(DataType type) {
  switch (type) {
    case DataType::kBool: return TypeGroup::kBool;
    case DataType::kInt8:
    case DataType::kInt16:
    case DataType::kInt32:
    case DataType::kInt64: return TypeGroup::kSigned;
    case DataType::kUint8:
    case DataType::kUint16:
    case DataType::kUint32:
    case DataType::kUint64: return TypeGroup::kUnsigned;
    case DataType::kBfloat16:
    case DataType::kDouble:
    case DataType::kFloat:
    case DataType::kFloat16: return TypeGroup::kFloat;
    default: return TypeGroup::kNone;
  }
}

/// Whether a cast may lose something that the runtime keeps: casts that were put in lose nothing by
/// its rules.
bool may_lose(DataType from, DataType to, bool inserted) {
  const TypeGroup source = group_of(from), target = group_of(to);
  if (source == TypeGroup::kNone || target == TypeGroup::kNone) return true;
  if (target == TypeGroup::kUnsigned && source != TypeGroup::kBool &&
      source != TypeGroup::kUnsigned)
    return true;
  if (source == TypeGroup::kFloat && target != TypeGroup::kFloat) return true;
  const int from_bits = source == TypeGroup::kBool ? 1 : bits_of(from),
            to_bits = target == TypeGroup::kBool ? 1 : bits_of(to);
  if (source == TypeGroup::kUnsigned && target == TypeGroup::kSigned) return to_bits <= from_bits;
  if (target == TypeGroup::kFloat &&
      (source == TypeGroup::kSigned || source == TypeGroup::kUnsigned))
    return to_bits <= from_bits;
  if (from != to && bits_of(from) == 16 && bits_of(to) == 16 && source == TypeGroup::kFloat &&
      target == TypeGroup::kFloat)
    return true;
  return from_bits > to_bits && !inserted;
}

bool is_cast(const Node& node) {
  return node.is("Cast") && node.num_inputs() == 1 && node.has_input(0) &&
         node.num_outputs() == 1 && node.has_output(0) && node.input(0).type().is_tensor() &&
         node.output(0).type().is_tensor();
}

/// Drops casts behind `cast` that undo it, and `cast` itself where then nothing but casts reads it.
void drop_duplicates(Graph& graph, Node& cast, const Nodes& inserted) {
  Value& in = cast.input(0);
  Value& out = cast.output(0);
  const DataType from = in.type().dtype, to = out.type().dtype;
  const bool loses = may_lose(from, to, inserted.contains(&cast));
  const std::vector<Use> uses = out.uses();
  std::vector<Node*> undone, kept;
  for (const Use& use : uses) {
    Node& next = *use.user;
    if (!is_cast(next) || &next.graph() != &graph) continue;
    const DataType last = next.output(0).type().dtype;
    if (loses && may_lose(last, to, inserted.contains(&next))) return;
    (last == from && !next.output(0).is_graph_output() ? undone : kept).push_back(&next);
  }
  for (Node* next : undone) {
    graph.replace_uses(next->output(0), in);
    graph.remove_node(*next);
  }
  if (uses.empty() || undone.size() + kept.size() != uses.size() || out.is_graph_output()) return;
  for (Node* next : kept) graph.set_input(*next, 0, &in);
  graph.remove_node(cast);
}

void drop_duplicate_casts(Graph& graph, const Nodes& inserted) {
  // What is dropped lies behind the current node or is that node: the walk holds ids, not nodes.
  std::vector<int> ids;
  for (const Node& node : graph.nodes()) ids.push_back(node.id());
  for (const int id : ids)
    if (Node* node = graph.node(id); node && is_cast(*node))
      drop_duplicates(graph, *node, inserted);
}

void for_each_graph(Graph& graph, const std::function<void(Graph&)>& f) {
  f(graph);
  for (Node& node : graph.nodes()) node.for_each_subgraph([&](Graph& g) { for_each_graph(g, f); });
}

}  // namespace

void insert_half_casts(Graph& graph) {
  Nodes inserted;
  for_each_graph(graph, [&](Graph& g) { HalfCasts(g, inserted).run(); });
  for_each_graph(graph, [&](Graph& g) { drop_duplicate_casts(g, inserted); });
}

}  // namespace onnxtool
