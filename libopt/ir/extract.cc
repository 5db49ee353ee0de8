#include "libopt/ir/extract.h"

#include <unordered_set>
#include <utility>

#include "libopt/ir/copy.h"
#include "libopt/ir/reads.h"

namespace onnxtool {
namespace {

using ValueSet = std::unordered_set<const Value*>;

// What stands between two sets of values: nodes, and values that they read or make.
struct Between {
  std::unordered_set<const Node*> nodes;
  ValueSet values;
};

Between between(const Graph& graph, const ValueSet& inputs, std::span<const Value* const> outputs) {
  Between out;
  std::vector<const Node*> open;
  for (const Value* v : outputs) {
    out.values.insert(v);
    open.push_back(v->producer());
  }
  while (!open.empty()) {
    const Node* node = open.back();
    open.pop_back();
    if (!node || !out.nodes.insert(node).second) continue;
    for_each_read(*node, [&](const Value& v) {
      if (&v.graph() != &graph) return;
      out.values.insert(&v);
      if (!inputs.contains(&v)) open.push_back(v.producer());
    });
    for (const Value* v : node->outputs())
      if (v) out.values.insert(v);
  }
  return out;
}

// Values that are given, although the node that makes them is there for others.
void copy_without(const Node& node, const ValueSet& given, Graph& to, ValueMap& map) {
  ValueMap unread;
  for (const Value* v : node.outputs())
    if (v && given.contains(v)) {
      Value& other = to.add_value({}, v->name());
      other.set_type(v->type());
      unread[v] = std::exchange(map[v], &other);
    }
  copy_node(node, to, nullptr, map);
  for (const auto& [v, input] : unread) map[v] = input;
}

}  // namespace

std::vector<const Value*> needed_inputs(const Model& model, std::span<const Value* const> inputs,
                                        std::span<const Value* const> outputs) {
  const ValueSet given(inputs.begin(), inputs.end());
  const Between part = between(model.graph(), given, outputs);
  ValueSet read(outputs.begin(), outputs.end());
  for (const Node* n : part.nodes) for_each_read(*n, [&](const Value& v) { read.insert(&v); });
  std::vector<const Value*> needed;
  for (const Value* v : model.graph().inputs())
    if (read.contains(v) && !v->initializer() && !given.contains(v)) needed.push_back(v);
  for (const Value* v : inputs)
    if (read.contains(v)) needed.push_back(v);
  return needed;
}

std::unique_ptr<Model> extract(const Model& model, std::span<const Value* const> inputs,
                               std::span<const Value* const> outputs) {
  const Graph& from = model.graph();
  const ValueSet given(inputs.begin(), inputs.end());
  const Between part = between(from, given, outputs);
  auto m = copy_header(model);
  Graph& to = m->graph();
  to.name = from.name;
  to.opaque_fields = from.opaque_fields;  // sparse initializers, which its nodes may read
  to.reserve_names_of(from);
  ValueMap map;
  for (Value* v : from.values()) {
    if (!part.values.contains(v) && !given.contains(v)) continue;
    Value& copy = to.add_value(v->name());
    copy_facts(*v, to, copy);
    if (given.contains(v) && v->initializer() && !v->is_graph_input()) to.clear_initializer(copy);
    map[v] = &copy;
  }
  for (const Value* v : inputs) to.add_input(*map.at(v));
  for (Node& n : from.nodes())
    if (part.nodes.contains(&n)) copy_without(n, given, to, map);
  for (const Value* v : outputs) to.add_output(*map.at(v));
  copy_functions(model, *m, map);
  return m;
}

}  // namespace onnxtool
