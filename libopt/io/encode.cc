#include "libopt/io/encode.h"
#include "libopt/ir/symbols.h"
#include "libopt/ir/unread.h"

namespace onnxtool {
namespace {

using wire::Rope;

void entries(Rope& out, uint32_t number, const Properties& properties) {
  for (const auto& [key, value] : properties) {
    Rope e;
    e.string_field(1, key);
    e.string_field(2, value);
    out.message_field(number, std::move(e));
  }
}

class Encoder {
 public:
  explicit Encoder(const PlaceTensor& place, bool with_subgraphs = true)
      : place_(place), with_subgraphs_(with_subgraphs) {}

  Rope tensor(const std::string& name, const Tensor& t, const std::string& doc = {}) const {
    Rope out;
    out.packed_ints(1, t.dims());
    out.int_field(2, static_cast<int32_t>(t.dtype()));
    if (t.dtype() == DataType::kString)
      for (const std::string& s : t.strings()) out.string_field(6, s);
    out.optional_string(8, name);
    const ExternalPlace* external = place_ && t.dtype() != DataType::kString ? place_(t) : nullptr;
    ExternalPlace unread;
    if (const UnreadData* data = unread_data(t)) {
      unread = {data->location, data->offset};
      external = &unread;
    }
    if (external) {
      entries(out, 13,
              {{"location", external->location},
               {"offset", std::to_string(external->offset)},
               {"length", std::to_string(t.size_bytes())}});
      out.int_field(14, 1);
    } else if (t.dtype() != DataType::kString) {
      out.tag(9, wire::WireType::kBytes);
      out.varint(t.size_bytes());
      out.append_payload(t);
    }
    out.optional_string(12, doc);
    return out;
  }

  Rope sparse(const SparseTensor& s) const {
    Rope out;
    out.message_field(1, tensor(s.values.name, s.values.tensor));
    out.message_field(2, tensor(s.indices.name, s.indices.tensor));
    out.packed_ints(3, s.dims);
    return out;
  }

  Rope attribute(const Attribute& a) const {
    Rope out;
    out.string_field(1, a.name);
    std::visit([&](const auto& v) { payload(out, v); }, a.value);
    out.optional_string(13, a.doc);
    if (a.kind != AttributeKind::kUndefined) out.int_field(20, static_cast<int>(a.kind));
    out.optional_string(21, a.ref);
    out.append(a.unknown_fields);
    return out;
  }

  Rope node(const Node& n) const {
    Rope out;
    for (const Value* v : n.inputs()) out.string_field(1, v ? v->name() : "");
    for (const Value* v : n.outputs()) out.string_field(2, v ? v->name() : "");
    out.optional_string(3, n.name());
    out.string_field(4, n.op_type());
    for (const Attribute& a : n.attributes()) {
      const bool has_graph = a.kind == AttributeKind::kGraph || a.kind == AttributeKind::kGraphs;
      if (with_subgraphs_ || !has_graph) out.message_field(5, attribute(a));
    }
    out.optional_string(6, n.doc);
    out.optional_string(7, n.domain());
    out.optional_string(8, n.overload());
    entries(out, 9, n.metadata);
    out.append(n.unknown_fields);
    return out;
  }

  Rope value_info(const Value& v) const {
    Rope out;
    out.string_field(1, v.name());
    if (v.type().kind != ValueType::Kind::kUnknown) out.message_field(2, encode_type(v.type()));
    out.optional_string(3, v.doc);
    entries(out, 4, v.metadata);
    out.append(v.unknown_fields);
    return out;
  }

  Rope graph(const Graph& g) const {
    Rope out;
    for (const Node& n : g.nodes()) out.message_field(1, node(n));
    out.optional_string(2, g.name);
    for (const Value* v : g.initializers()) {
      const bool declared = v->is_graph_input() || v->is_graph_output() || v->has_value_info;
      Rope t = tensor(v->name(), *v->initializer(), v->is_graph_input() ? std::string() : v->doc);
      if (!declared) {  // else its declaration has them
        entries(t, 16, v->metadata);
        t.append(v->unknown_fields);
      }
      out.message_field(5, std::move(t));
    }
    out.optional_string(10, g.doc);
    for (const Value* v : g.inputs()) out.message_field(11, value_info(*v));
    for (const Value* v : g.outputs()) out.message_field(12, value_info(*v));
    // Results in the order of nodes, as a reader will number them: what was read is written alike.
    const auto declare = [&](const Value* v) {
      if (v->has_value_info && !v->is_graph_input() && !v->is_graph_output() &&
          v->type().kind != ValueType::Kind::kUnknown)
        out.message_field(13, value_info(*v));
    };
    for (const Value* v : g.values())
      if (!v->producer()) declare(v);
    for (const Node& n : g.nodes())
      for (const Value* v : n.outputs())
        if (v) declare(v);
    for (const std::string& field : g.opaque_fields) out.append(field);
    entries(out, 16, g.metadata);
    out.append(g.unknown_fields);
    return out;
  }

  Rope function(const Function& f) const {
    Rope out;
    out.string_field(1, f.name);
    for (const Value* v : f.body->inputs()) out.string_field(4, v->name());
    for (const Value* v : f.body->outputs()) out.string_field(5, v->name());
    for (const std::string& a : f.attributes) out.string_field(6, a);
    for (const Node& n : f.body->nodes()) out.message_field(7, node(n));
    out.optional_string(8, f.doc);
    opsets(out, 9, f.opsets);
    out.string_field(10, f.domain);
    for (const Attribute& a : f.attribute_defaults) out.message_field(11, attribute(a));
    for (const Value* v : f.body->values())
      if (v->type().kind != ValueType::Kind::kUnknown && !v->initializer())
        out.message_field(12, value_info(*v));
    out.optional_string(13, f.overload);
    entries(out, 14, f.metadata);
    out.append(f.unknown_fields);
    return out;
  }

  static void opsets(Rope& out, uint32_t number, const std::vector<OpsetImport>& list) {
    for (const OpsetImport& o : list) {
      Rope e;
      e.string_field(1, o.domain);
      e.int_field(2, o.version);
      out.message_field(number, std::move(e));
    }
  }

 private:
  void payload(Rope&, std::monostate) const {}
  void payload(Rope& out, float v) const { out.float_field(2, v); }
  void payload(Rope& out, int64_t v) const { out.int_field(3, v); }
  void payload(Rope& out, const std::string& v) const { out.string_field(4, v); }
  void payload(Rope& out, const NamedTensor& v) const {
    out.message_field(5, tensor(v.name, v.tensor));
  }
  void payload(Rope& out, const std::unique_ptr<Graph>& v) const {
    out.message_field(6, graph(*v));
  }
  void payload(Rope& out, const std::vector<float>& v) const { out.packed_floats(7, v); }
  void payload(Rope& out, const std::vector<int64_t>& v) const { out.packed_ints(8, v); }
  void payload(Rope& out, const std::vector<std::string>& v) const {
    for (const auto& s : v) out.string_field(9, s);
  }
  void payload(Rope& out, const std::vector<NamedTensor>& v) const {
    for (const auto& t : v) out.message_field(10, tensor(t.name, t.tensor));
  }
  void payload(Rope& out, const std::vector<std::unique_ptr<Graph>>& v) const {
    for (const auto& g : v) out.message_field(11, graph(*g));
  }
  void payload(Rope& out, const SparseTensor& v) const { out.message_field(22, sparse(v)); }
  void payload(Rope& out, const std::vector<SparseTensor>& v) const {
    for (const auto& s : v) out.message_field(23, sparse(s));
  }
  void payload(Rope& out, const ValueType& v) const { out.message_field(14, encode_type(v)); }
  void payload(Rope& out, const std::vector<ValueType>& v) const {
    for (const auto& t : v) out.message_field(15, encode_type(t));
  }

  const PlaceTensor& place_;
  bool with_subgraphs_;
};

Rope encode_shape(const std::vector<Dim>& shape) {
  Rope out;
  for (const Dim& d : shape) {
    Rope e;
    if (d.value)
      e.int_field(1, *d.value);
    else if (!d.symbol.starts_with(kInventedDim))
      e.optional_string(2, d.symbol);
    e.optional_string(3, d.denotation);
    out.message_field(1, std::move(e));
  }
  return out;
}

const PlaceTensor kInside;

}  // namespace

Rope encode_type(const ValueType& t) {
  Rope inner, out;
  uint32_t field = 0;
  switch (t.kind) {
    case ValueType::Kind::kUnknown: return out;
    case ValueType::Kind::kTensor:
    case ValueType::Kind::kSparseTensor:
      inner.int_field(1, static_cast<int32_t>(t.dtype));
      if (t.shape) inner.message_field(2, encode_shape(*t.shape));
      field = t.kind == ValueType::Kind::kTensor ? 1 : 8;
      break;
    case ValueType::Kind::kSequence:
    case ValueType::Kind::kOptional:
      if (t.element) inner.message_field(1, encode_type(*t.element));
      field = t.kind == ValueType::Kind::kSequence ? 4 : 9;
      break;
    case ValueType::Kind::kMap:
      inner.int_field(1, static_cast<int32_t>(t.dtype));
      if (t.element) inner.message_field(2, encode_type(*t.element));
      field = 5;
      break;
    case ValueType::Kind::kOpaque:
      inner.optional_string(1, t.opaque_domain);
      inner.optional_string(2, t.opaque_name);
      field = 7;
      break;
  }
  out.message_field(field, std::move(inner));
  out.optional_string(6, t.denotation);
  return out;
}

Rope encode_model(const Model& m, const PlaceTensor& place) {
  const Encoder encoder(place);
  Rope out;
  out.int_field(1, m.ir_version);
  out.optional_string(2, m.producer_name);
  out.optional_string(3, m.producer_version);
  out.optional_string(4, m.domain);
  if (m.model_version) out.int_field(5, m.model_version);
  out.optional_string(6, m.doc);
  out.message_field(7, encoder.graph(m.graph()));
  Encoder::opsets(out, 8, m.opsets);
  entries(out, 14, m.metadata);
  for (const std::string& field : m.opaque_fields) out.append(field);
  for (const Function& f : m.functions) out.message_field(25, encoder.function(f));
  out.append(m.unknown_fields);
  return out;
}

Rope encode_node(const Node& node, bool with_subgraphs, const PlaceTensor& place) {
  return Encoder(place, with_subgraphs).node(node);
}
Rope encode_attribute(const Attribute& attribute) { return Encoder(kInside).attribute(attribute); }
Rope encode_tensor(const std::string& name, const Tensor& t, const PlaceTensor& place) {
  return Encoder(place).tensor(name, t);
}

}  // namespace onnxtool
