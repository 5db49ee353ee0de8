#include "libopt/ir/copy.h"

#include "libopt/ir/model.h"

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

void copy_facts(const Value& from, Graph& to, Value& copy) {
  if (from.initializer()) to.set_initializer(copy, *from.initializer());
  copy.set_type(from.type());
  copy.doc = from.doc;
  copy.metadata = from.metadata;
  copy.unknown_fields = from.unknown_fields;
  copy.has_value_info = from.has_value_info;
}

namespace {

// An outer value that is not in the map belongs to a graph outside of what is copied.
Value* mapped(Value* v, const ValueMap& map) {
  const auto it = map.find(v);
  return it == map.end() ? v : it->second;
}

}  // namespace

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

namespace {

// What stands for one turn's extent in a loop's body, or for a branch's, is another outside, and
// its name would hide what follows from the inputs there.
void forget_extent_names(Value& value) {
  if (!value.type().shape) return;
  ValueType type = value.type();
  for (Dim& d : *type.shape) d.symbol.clear();
  value.set_type(std::move(type));
}

}  // namespace

std::vector<Value*> copy_into(const Graph& from, Graph& to, Node* anchor,
                              const std::vector<Value*>& inputs) {
  ValueMap map;
  for (size_t i = 0; i < inputs.size(); ++i) map[from.inputs()[i]] = inputs[i];
  for (Value* v : from.values()) {
    if (map.contains(v)) continue;
    Value& copy = to.add_value({}, v->name());
    copy_facts(*v, to, copy);
    forget_extent_names(copy);
    map[v] = &copy;
  }
  for (Node& n : from.nodes()) copy_node(n, to, anchor, map);
  std::vector<Value*> outputs;
  for (Value* v : from.outputs()) outputs.push_back(mapped(v, map));
  return outputs;
}

std::unique_ptr<Model> copy_header(const Model& from) {
  auto m = std::make_unique<Model>();
  m->ir_version = from.ir_version;
  m->model_version = from.model_version;
  m->producer_name = from.producer_name;
  m->producer_version = from.producer_version;
  m->domain = from.domain;
  m->doc = from.doc;
  m->opsets = from.opsets;
  m->metadata = from.metadata;
  m->opaque_fields = from.opaque_fields;
  m->unknown_fields = from.unknown_fields;
  m->had_external_data = from.had_external_data;
  m->overridden_constants = from.overridden_constants;
  return m;
}

void copy_functions(const Model& from, Model& m, ValueMap& map) {
  for (const Function& f : from.functions) {
    Function copy;
    copy.name = f.name;
    copy.domain = f.domain;
    copy.overload = f.overload;
    copy.doc = f.doc;
    copy.attributes = f.attributes;
    copy.opsets = f.opsets;
    copy.metadata = f.metadata;
    copy.unknown_fields = f.unknown_fields;
    copy.body = std::make_unique<Graph>(&m, nullptr);
    copy_graph(*f.body, *copy.body, map);
    for (const Attribute& a : f.attribute_defaults)
      copy.attribute_defaults.push_back(copy_attribute(a, *copy.body, map));
    m.functions.push_back(std::move(copy));
  }
}

std::unique_ptr<Model> Model::clone() const {
  auto m = copy_header(*this);
  ValueMap map;
  copy_graph(*graph_, m->graph(), map);
  copy_functions(*this, *m, map);
  return m;
}

}  // namespace onnxtool
