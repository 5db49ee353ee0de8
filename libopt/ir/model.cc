#include "libopt/ir/model.h"

#include "libopt/ir/copy.h"

namespace onnxtool {

Attribute copy_attribute(const Attribute& a, Graph& owner, ValueMap& map) {
  Attribute out;
  out.name = a.name;
  out.kind = a.kind;
  out.ref = a.ref;
  out.doc = a.doc;
  out.unknown_fields = a.unknown_fields;
  const auto copy_one = [&](const std::unique_ptr<Graph>& g) {
    auto copy = std::make_unique<Graph>(&owner.model(), &owner);
    copy_graph(*g, *copy, map);
    return copy;
  };
  std::visit(
      [&](const auto& v) {
        using T = std::decay_t<decltype(v)>;
        if constexpr (std::is_same_v<T, std::unique_ptr<Graph>>) {
          out.value = copy_one(v);
        } else if constexpr (std::is_same_v<T, std::vector<std::unique_ptr<Graph>>>) {
          std::vector<std::unique_ptr<Graph>> graphs;
          for (const auto& g : v) graphs.push_back(copy_one(g));
          out.value = std::move(graphs);
        } else {
          out.value = v;
        }
      },
      a.value);
  return out;
}

namespace {

void copy_facts(const Value& from, Graph& to, Value& copy) {
  if (from.initializer()) to.set_initializer(copy, *from.initializer());
  copy.set_type(from.type());
  copy.doc = from.doc;
  copy.metadata = from.metadata;
  copy.unknown_fields = from.unknown_fields;
  copy.has_value_info = from.has_value_info;
}

// An outer value that is not in the map belongs to a graph outside of what is copied.
Value* mapped(Value* v, const ValueMap& map) {
  const auto it = map.find(v);
  return it == map.end() ? v : it->second;
}

void copy_node(const Node& n, Graph& to, Node* anchor, ValueMap& map) {
  std::vector<Value*> inputs, outputs;
  for (Value* v : n.inputs()) inputs.push_back(v ? mapped(v, map) : nullptr);
  for (Value* v : n.outputs()) outputs.push_back(v ? mapped(v, map) : nullptr);
  Node& copy = to.add_node(n.op_type(), n.domain(), n.name(), std::move(inputs), std::move(outputs),
                           {}, anchor);
  to.set_overload(copy, n.overload());
  copy.doc = n.doc;
  copy.metadata = n.metadata;
  copy.unknown_fields = n.unknown_fields;
  for (const Attribute& a : n.attributes()) copy.set_attribute(copy_attribute(a, to, map));
}

}  // namespace

void copy_graph(const Graph& from, Graph& to, ValueMap& map) {
  to.name = from.name;
  to.doc = from.doc;
  to.metadata = from.metadata;
  to.opaque_fields = from.opaque_fields;
  to.unknown_fields = from.unknown_fields;
  to.reserve_names_of(from);
  for (Value* v : from.values()) {
    Value& copy = to.add_value(v->name());
    copy_facts(*v, to, copy);
    map[v] = &copy;
  }
  for (Value* v : from.inputs()) to.add_input(*map.at(v));
  for (Node& n : from.nodes()) copy_node(n, to, nullptr, map);
  for (Value* v : from.outputs()) {
    Value* copy = mapped(v, map);
    // Where the original's value has no counterpart, nothing makes the copy's.
    to.add_output(copy ? *copy : to.add_value("", v->name()));
  }
}

std::vector<Value*> copy_into(const Graph& from, Graph& to, Node* anchor) {
  ValueMap map;
  for (Value* v : from.values()) {
    Value& copy = to.add_value({}, v->name());
    copy_facts(*v, to, copy);
    map[v] = &copy;
  }
  for (Node& n : from.nodes()) copy_node(n, to, anchor, map);
  std::vector<Value*> outputs;
  for (Value* v : from.outputs()) outputs.push_back(mapped(v, map));
  return outputs;
}

int Model::opset(std::string_view domain) const {
  if (domain == "ai.onnx") domain = "";
  for (const OpsetImport& o : opsets)
    if (o.domain == domain || (domain.empty() && o.domain == "ai.onnx"))
      return static_cast<int>(o.version);
  return 0;
}

void Model::set_opset(std::string_view domain, int64_t version) {
  for (OpsetImport& o : opsets)
    if (o.domain == domain || (domain.empty() && o.domain == "ai.onnx")) {
      o.version = version;
      return;
    }
  opsets.push_back({std::string(domain), version});
}

std::unique_ptr<Model> Model::clone() const {
  auto m = std::make_unique<Model>();
  m->ir_version = ir_version;
  m->model_version = model_version;
  m->producer_name = producer_name;
  m->producer_version = producer_version;
  m->domain = domain;
  m->doc = doc;
  m->opsets = opsets;
  m->metadata = metadata;
  m->opaque_fields = opaque_fields;
  m->unknown_fields = unknown_fields;
  m->had_external_data = had_external_data;
  m->overridden_constants = overridden_constants;
  ValueMap map;
  copy_graph(*graph_, m->graph(), map);
  for (const Function& f : functions) {
    Function copy;
    copy.name = f.name;
    copy.domain = f.domain;
    copy.overload = f.overload;
    copy.doc = f.doc;
    copy.attributes = f.attributes;
    copy.opsets = f.opsets;
    copy.metadata = f.metadata;
    copy.unknown_fields = f.unknown_fields;
    copy.body = std::make_unique<Graph>(m.get(), nullptr);
    copy_graph(*f.body, *copy.body, map);
    for (const Attribute& a : f.attribute_defaults)
      copy.attribute_defaults.push_back(copy_attribute(a, *copy.body, map));
    m->functions.push_back(std::move(copy));
  }
  return m;
}

}  // namespace onnxtool
