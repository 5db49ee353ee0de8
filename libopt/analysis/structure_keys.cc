#include "libopt/analysis/structure_keys.h"

#include <algorithm>
#include <map>

#include "libopt/analysis/attribute_defaults.h"
#include "libopt/analysis/tensor_text.h"

namespace onnxtool {

std::string key_part(std::string_view text) {
  return std::to_string(text.size()) + ":" + std::string(text);
}

std::string operator_key(const Node& n) {
  return key_part(n.domain()) + key_part(n.op_type()) + key_part(n.overload());
}

KeyedGraph::KeyedGraph(const Graph& graph, StructureKeys& keys) : keys_(keys) {
  for (const Value* v : graph.inputs()) values_[v] = keys_.of("input " + v->name());
  nodes_ = add(graph);
}

int KeyedGraph::of(const Value& v) {
  const auto it = values_.find(&v);
  if (it != values_.end()) return it->second;
  const Tensor* t = v.constant() ? v.constant() : v.initializer();
  return values_[&v] = keys_.of(t ? "constant " + tensor_text(*t) : "unknown " + v.name());
}

std::string KeyedGraph::attribute_key(const Attribute& a) {
  std::string out = std::to_string(static_cast<int>(a.kind)) + " ";
  if (const auto* g = a.get<std::unique_ptr<Graph>>()) return out + graph_key(**g);
  if (const auto* list = a.get<std::vector<std::unique_ptr<Graph>>>()) {
    for (const auto& g : *list) out += graph_key(*g);
    return out;
  }
  return out + attribute_text(a);
}

std::vector<const Node*> KeyedGraph::add(const Graph& graph) {
  std::vector<const Node*> added;
  for (const Node& n : graph.nodes()) {
    if (n.num_outputs() && n.has_output(0) && n.output(0).constant()) continue;
    std::string key = "node " + operator_key(n);
    for (const Value* v : n.inputs()) key += (v ? std::to_string(of(*v)) : "-") + ",";
    while (key.ends_with("-,")) key.resize(key.size() - 2);  // absent ones at the end say nothing
    std::map<std::string, std::string> attributes;
    for (const Attribute& a : n.attributes())
      if (!is_default_attribute(n, a)) attributes[a.name] = attribute_key(a);
    for (const auto& [name, text] : attributes) key += ";" + key_part(name) + key_part(text);
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
  std::string out = "{" + std::to_string(g.inputs().size()) + ":";
  for (const int id : made) out += std::to_string(id) + ",";
  out += ":";
  for (const Value* v : g.outputs()) out += std::to_string(of(*v)) + ",";
  return out + "}";
}

}  // namespace onnxtool
