#include "libopt/analysis/structure_keys.h"

#include <algorithm>
#include <map>

#include "libopt/analysis/attribute_defaults.h"
#include "libopt/analysis/tensor_text.h"
#include "libopt/ir/unread.h"

namespace onnxtool {

std::string key_part(std::string_view text) {
  return std::to_string(text.size()) + ":" + std::string(text);
}

std::string operator_key(const Node& n) {
  return key_part(n.domain()) + key_part(n.op_type()) + key_part(n.overload());
}

std::string element_type_text(ValueType type) {
  type.shape.reset();
  return format_type(type);
}

KeyedGraph::KeyedGraph(const Graph& graph, StructureKeys& keys) : keys_(keys) {
  for (const Value* v : graph.inputs()) values_[v] = keys_.of("input " + v->name());
  add(graph);
}

int KeyedGraph::of(const Value& v) {
  const auto it = values_.find(&v);
  if (it != values_.end()) return it->second;
  const Tensor* t = v.initializer() ? v.initializer() : stored_constant(v);
  if (t) return values_[&v] = keys_.of("constant " + tensor_text(*t));
  const auto [texts, is_new] = sparse_.try_emplace(&v.graph());
  if (is_new) texts->second = sparse_initializer_texts(v.graph());
  const auto sparse = texts->second.find(v.name());
  return values_[&v] = keys_.of(sparse == texts->second.end() ? "unknown " + v.name()
                                                              : "constant " + sparse->second);
}

std::string KeyedGraph::attribute_key(const Attribute& a) {
  std::string out = std::to_string(static_cast<int>(a.kind)) + " ";
  const auto* one = a.get<std::unique_ptr<Graph>>();
  const auto* list = a.get<std::vector<std::unique_ptr<Graph>>>();
  if (!one && !list) return out + attribute_text(a);
  // Once, where it stands: the keys inside depend on how deep that is.
  if (!graphs_.contains(&a)) {
    std::string key;
    if (one) key = graph_key(**one);
    if (list)
      for (const auto& g : *list) key += graph_key(*g);
    graphs_[&a] = keys_.of("graphs " + key);
  }
  return out + std::to_string(graphs_.at(&a));
}

bool has_key(const Node& n) {
  return !n.num_outputs() || !n.has_output(0) || !stored_constant(n.output(0));
}

std::vector<const Node*> KeyedGraph::add(const Graph& graph) {
  std::vector<const Node*> added;
  for (const Node& n : graph.nodes()) {
    if (!has_key(n)) continue;
    std::string key = "node " + operator_key(n);
    for (const Value* v : n.inputs()) key += (v ? std::to_string(of(*v)) : "-") + ",";
    while (key.ends_with("-,")) key.resize(key.size() - 2);  // absent ones at the end say nothing
    std::map<std::string, std::string> attributes;
    for (const Attribute& a : n.attributes())
      if (!is_default_attribute(n, a)) attributes[a.name] = attribute_key(a);
    for (const auto& [name, text] : attributes) key += ";" + key_part(name) + key_part(text);
    // What some operators do depends on how many results are asked for.
    key += "=>";
    for (const Value* v : n.outputs()) key += v ? '+' : '-';
    while (key.ends_with('-')) key.pop_back();
    const int id = keys_.of(key);
    node_keys_[&n] = id;
    added.push_back(&n);
    for (int i = 0; i < n.num_outputs(); ++i)
      if (n.has_output(i))
        values_[&n.output(i)] = keys_.of("result " + std::to_string(id) + " " + std::to_string(i));
  }
  return added;
}

std::string KeyedGraph::graph_key(const Graph& g) {
  const std::string place = "parameter " + std::to_string(depth_++) + " ";
  for (size_t i = 0; i < g.inputs().size(); ++i)
    values_[g.inputs()[i]] = keys_.of(place + std::to_string(i));
  std::vector<int> made;
  for (const Node* n : add(g)) made.push_back(node_keys_.at(n));
  --depth_;
  for (const Value* v : g.initializers())
    if (v->uses().empty()) made.push_back(of(*v));
  std::ranges::sort(made);  // the order of nodes says nothing
  std::string out = "{";
  for (const Value* v : g.inputs()) out += element_type_text(v->type()) + ",";
  out += ":";
  for (const int id : made) out += std::to_string(id) + ",";
  out += ":";
  for (const Value* v : g.outputs()) out += std::to_string(of(*v)) + ",";
  return out + "}";
}

}  // namespace onnxtool
