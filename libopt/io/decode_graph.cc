// Graphs and what function bodies share with them: values, nodes and their names.
#include <string_view>
#include <unordered_map>

#include "libopt/analysis/order.h"
#include "libopt/io/decoder.h"

namespace onnxtool::decoding {
namespace {

// Of one node. Attributes are looked up one by one, and no operator has more than a few dozen.
constexpr size_t kMaxAttributes = 4096;

Value* resolve(Graph& graph, const std::string& name) {
  for (Graph* g = &graph; g; g = g->parent())
    if (Value* v = g->find(name)) return v;
  return nullptr;
}

// Values defined in a subgraph may not be reused as fresh names outside.
void claim(Graph& graph, const std::string& name) {
  for (Graph* g = graph.parent(); g; g = g->parent()) g->reserve_name(name);
}

}  // namespace

Result<NodeFields> Decoder::node_fields(Bytes message) {
  NodeFields n;
  ONNXTOOL_TRY(for_each_field(message, [&](const Field& f) -> Status {
    switch (f.number) {
      case 1: n.inputs.push_back(f.string()); break;
      case 2: n.outputs.push_back(f.string()); break;
      case 3: n.name = f.string(); break;
      case 4: n.op_type = f.string(); break;
      case 5: n.attributes.push_back(f.bytes); break;
      case 6: n.doc = f.string(); break;
      case 7: n.domain = f.string(); break;
      case 8: n.overload = f.string(); break;
      case 9: {
        ONNXTOOL_ASSIGN(auto entry, decode_entry(f.bytes));
        n.metadata.push_back(std::move(entry));
        break;
      }
      default: keep(n.unknown, f);
    }
    return {};
  }));
  return n;
}

Status Decoder::value_info(Bytes message, Graph& graph, bool create, Value** out) {
  std::string name, doc, unknown;
  ValueType type;
  Properties metadata;
  ONNXTOOL_TRY(for_each_field(message, [&](const Field& f) -> Status {
    if (f.number == 1)
      name = f.string();
    else if (f.number == 2) {
      ONNXTOOL_TRY(expect_bytes(f, "a value_info"));
      ONNXTOOL_ASSIGN(type, decode_type(f.bytes, 0));
    } else if (f.number == 3)
      doc = f.string();
    else if (f.number == 4) {
      ONNXTOOL_ASSIGN(auto entry, decode_entry(f.bytes));
      metadata.push_back(std::move(entry));
    } else
      keep(unknown, f);
    return {};
  }));
  Value* v = graph.find(name);
  if (create) {
    if (name.empty()) return bad("a graph input has no name");
    if (v) return bad("value '" + name + "' is defined twice");
    v = &graph.add_value(name);
  }
  if (out) *out = v;
  if (!v) {
    if (out) return bad("graph output '" + name + "' is not produced by any node");
    return {};  // type information about a value that is not there
  }
  // An initializer's own type and dims are facts; a declaration beside them adds nothing.
  if (type.kind != ValueType::Kind::kUnknown && !v->initializer()) v->set_type(std::move(type));
  v->doc = std::move(doc);
  v->metadata = std::move(metadata);
  v->unknown_fields = std::move(unknown);
  return {};
}

Status Decoder::define(Graph& graph, const std::string& name, const std::string& place) {
  if (graph.find(name)) return bad(place + ": value '" + name + "' is defined twice");
  graph.add_value(name);
  claim(graph, name);
  return {};
}

// Some exporters append Constant nodes of names that are taken by Constant nodes. onnxruntime
// keeps such constants apart from the nodes, by name, so that the last one holds for all readers:
// so here. Every other value that is defined twice is an error.
void Decoder::drop_overridden_constants(std::vector<NodeFields>& nodes) {
  std::unordered_map<std::string_view, const NodeFields*> last;
  const auto is_constant = [](const NodeFields& n) {
    return n.op_type == "Constant" && n.domain.empty() && n.outputs.size() == 1 &&
           !n.outputs[0].empty();
  };
  for (const NodeFields& n : nodes)
    if (is_constant(n)) last[n.outputs[0]] = &n;
  std::vector<bool> dropped;
  for (const NodeFields& n : nodes) dropped.push_back(is_constant(n) && last[n.outputs[0]] != &n);
  size_t kept = 0;
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (dropped[i])
      model_->overridden_constants.push_back(nodes[i].outputs[0]);
    else if (i != kept++)
      nodes[kept - 1] = std::move(nodes[i]);
  }
  nodes.resize(kept);
}

Status Decoder::nodes_into(std::vector<NodeFields>& nodes, Graph& graph, int depth) {
  drop_overridden_constants(nodes);
  for (const NodeFields& n : nodes)
    for (const std::string& out : n.outputs)
      if (!out.empty())
        ONNXTOOL_TRY(define(graph, out, "node '" + n.name + "' (" + n.op_type + ")"));
  std::vector<Node*> made;
  for (const NodeFields& n : nodes) {
    if (n.op_type.empty()) return bad("node '" + n.name + "' has no op_type");
    std::vector<Value*> inputs, outputs;
    for (const std::string& in : n.inputs) {
      Value* v = in.empty() ? nullptr : resolve(graph, in);
      if (!in.empty() && !v)
        return bad("node '" + n.name + "' (" + n.op_type + "): input '" + in + "' is not defined");
      inputs.push_back(v);
    }
    for (const std::string& out : n.outputs)
      outputs.push_back(out.empty() ? nullptr : graph.find(out));
    Node& node = graph.add_node(n.op_type, n.domain, n.name, std::move(inputs), std::move(outputs));
    graph.set_overload(node, n.overload);
    node.doc = n.doc;
    node.metadata = n.metadata;
    node.unknown_fields = n.unknown;
    made.push_back(&node);
  }
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (nodes[i].attributes.size() > kMaxAttributes)
      return bad(made[i]->describe() + " has " + std::to_string(nodes[i].attributes.size()) +
                 " attributes, expected at most " + std::to_string(kMaxAttributes));
    for (Bytes a : nodes[i].attributes) {
      auto decoded = attribute(a, &graph, depth);
      if (!decoded.ok()) return std::move(decoded).error().at(made[i]->describe());
      if (made[i]->attribute(decoded->name))
        return bad(made[i]->describe() + ": attribute '" + decoded->name + "' is given twice");
      made[i]->set_attribute(*std::move(decoded));
    }
  }
  return {};
}

Status Decoder::graph_into(Bytes message, Graph& graph, int depth) {
  if (depth > kMaxDepth)
    return bad("subgraphs are nested more than " + std::to_string(kMaxDepth) + " deep");
  std::vector<NodeFields> nodes;
  std::vector<Bytes> inputs, outputs, infos, initializers;
  ONNXTOOL_TRY(for_each_field(message, [&](const Field& f) -> Status {
    if (f.type != WireType::kBytes) {
      keep(graph.unknown_fields, f);
      return {};
    }
    switch (f.number) {
      case 1: {
        ONNXTOOL_ASSIGN(NodeFields n, node_fields(f.bytes));
        nodes.push_back(std::move(n));
        break;
      }
      case 2: graph.name = f.string(); break;
      case 5: initializers.push_back(f.bytes); break;
      case 10: graph.doc = f.string(); break;
      case 11: inputs.push_back(f.bytes); break;
      case 12: outputs.push_back(f.bytes); break;
      case 13: infos.push_back(f.bytes); break;
      case 14: graph.opaque_fields.emplace_back(wire::text(f.raw)); break;
      case 15: {
        ONNXTOOL_ASSIGN(SparseTensor s, tensors_.sparse_tensor(f.bytes));
        if (!graph.find(s.values.name))
          ONNXTOOL_TRY(define(graph, s.values.name, "sparse initializer"));
        graph.opaque_fields.emplace_back(wire::text(f.raw));
        break;
      }
      case 16: {
        ONNXTOOL_ASSIGN(auto entry, decode_entry(f.bytes));
        graph.metadata.push_back(std::move(entry));
        break;
      }
      default: keep(graph.unknown_fields, f);
    }
    return {};
  }));
  for (Bytes b : inputs) {
    Value* v = nullptr;
    ONNXTOOL_TRY(value_info(b, graph, true, &v));
    graph.add_input(*v);
    claim(graph, v->name());
  }
  for (Bytes b : initializers) {
    TensorRemarks remarks;
    ONNXTOOL_ASSIGN(NamedTensor t, tensors_.tensor(b, &remarks));
    if (t.name.empty()) return bad("an initializer has no name");
    Value* v = graph.find(t.name);
    if (v && (v->initializer() || !v->is_graph_input()))
      return bad("initializer '" + t.name + "' is defined twice");
    if (!v) {
      v = &graph.add_value(t.name);
      claim(graph, t.name);
    }
    const ValueType declared = v->type();
    graph.set_initializer(*v, std::move(t.tensor));
    if (v->is_graph_input() && declared.is_tensor())
      v->set_type(declared);  // it may be looser: callers override
    if (!remarks.doc.empty()) v->doc = std::move(remarks.doc);
    if (v->is_graph_input()) continue;  // what its declaration says of it stays
    v->metadata = std::move(remarks.metadata);
    v->unknown_fields = std::move(remarks.unknown);
  }
  ONNXTOOL_TRY(nodes_into(nodes, graph, depth));
  for (Bytes b : outputs) {
    std::string name;
    ONNXTOOL_TRY(for_each_field(b, [&](const Field& f) -> Status {
      if (f.number == 1) name = f.string();
      return {};
    }));
    Value* v = graph.find(name);
    if (v && (v->is_graph_input() || v->is_graph_output())) {
      graph.add_output(*v);  // passed through, or listed twice: its type is known
      continue;
    }
    if (!v && depth > 0 && (v = resolve(graph, name))) {
      graph.add_output(*v);
      continue;
    }
    ONNXTOOL_TRY(value_info(b, graph, false, &v));
    graph.add_output(*v);
  }
  for (Bytes b : infos) {
    std::string name;
    ONNXTOOL_TRY(for_each_field(b, [&](const Field& f) -> Status {
      if (f.number == 1) name = f.string();
      return {};
    }));
    Value* v = graph.find(name);
    if (!v || v->is_graph_input() || v->is_graph_output())
      continue;  // declared with its type there
    // Of a constant, whose type is a fact, what its tensor says is kept.
    if (v->initializer() && !(v->doc.empty() && v->metadata.empty() && v->unknown_fields.empty()))
      continue;
    ONNXTOOL_TRY(value_info(b, graph, false, nullptr));
    v->has_value_info = true;
  }
  return sort_topologically(graph);
}

}  // namespace onnxtool::decoding
