#include "libopt/ort/read.h"

#include <charconv>
#include <cstring>
#include <limits>
#include <unordered_map>
#include <unordered_set>

#include "libopt/analysis/order.h"
#include "libopt/ort/read_parts.h"

namespace onnxtool {
namespace {

using namespace ort_reading;

using Names = flatbuffers::Vector<flatbuffers::Offset<flatbuffers::String>>;

constexpr int kOldestFormat = 1, kNewestFormat = 6;

class Reader {
 public:
  Reader(std::span<const std::byte> bytes, std::shared_ptr<const Storage> owner)
      : context_{Budget(bytes.size()), std::move(owner)} {}

  Result<std::unique_ptr<Model>> model(const fb::InferenceSession& session) {
    ONNXTOOL_TRY(check_version(session));
    if (!session.model()) return bad("the model is absent");
    const fb::Model& from = *session.model();
    auto model = std::make_unique<Model>();
    if (from.ir_version() < 1) return bad("ir_version is " + std::to_string(from.ir_version()));
    model->ir_version = from.ir_version();
    // What the runtime writes where the .onnx file says nothing.
    if (from.model_version() != std::numeric_limits<int64_t>::max())
      model->model_version = from.model_version();
    ONNXTOOL_ASSIGN(model->producer_name, text(context_, from.producer_name()));
    ONNXTOOL_ASSIGN(model->producer_version, text(context_, from.producer_version()));
    ONNXTOOL_ASSIGN(model->domain, text(context_, from.domain()));
    ONNXTOOL_ASSIGN(model->doc, text(context_, from.doc_string()));
    ONNXTOOL_TRY(opsets(from, *model));
    if (const auto* entries = from.metadata_props())
      for (const fb::StringStringEntry* entry : *entries) {
        if (!entry || !entry->key()) return bad("a metadata entry has no key");
        ONNXTOOL_ASSIGN(std::string key, text(context_, entry->key()));
        ONNXTOOL_ASSIGN(std::string value, text(context_, entry->value()));
        model->metadata.emplace_back(std::move(key), std::move(value));
      }
    if (!from.graph()) return bad("the graph is absent");
    model->graph().name = "graph";  // the format keeps no names of graphs
    ONNXTOOL_ASSIGN(model->graph().doc, text(context_, from.graph_doc_string()));
    ONNXTOOL_TRY(graph(*from.graph(), model->graph(), "graph"));
    return model;
  }

 private:
  static Status check_version(const fb::InferenceSession& session) {
    const std::string_view found = view(session.ort_version());
    int version = 0;
    const auto [end, error] = std::from_chars(found.data(), found.data() + found.size(), version);
    if (error != std::errc() || end != found.data() + found.size())
      return bad("the format version is '" + std::string(found.substr(0, 40)) +
                 "', expected a number");
    if (version < kOldestFormat || version > kNewestFormat)
      return Error{
          ErrorCode::kUnsupported,
          "the format version is " + std::to_string(version) + ", and only 1 to 6 are known",
          {}};
    return {};
  }

  Status opsets(const fb::Model& from, Model& model) {
    if (!from.opset_import()) return bad("opset_import is absent");
    std::unordered_set<std::string> seen;
    for (const fb::OperatorSetId* id : *from.opset_import()) {
      if (!id || !id->domain()) return bad("an opset import has no domain");
      ONNXTOOL_ASSIGN(std::string domain, text(context_, id->domain()));
      if (domain == "ai.onnx") domain.clear();
      if (id->version() < 0 || id->version() > std::numeric_limits<int>::max())
        return bad("opset import of '" + domain + "' has the impossible version " +
                   std::to_string(id->version()));
      if (!seen.insert(domain).second)
        return bad("the opset of '" + domain + "' is imported twice");
      model.opsets.push_back({std::move(domain), id->version()});
    }
    return {};
  }

  // --- one graph: its values first, then nodes, so that any order resolves
  // ----------------------------

  Status graph(const fb::Graph& from, Graph& to, const std::string& place) {
    if (Status s = values(from, to); !s.ok()) return std::move(s).error().at(place);
    if (Status s = nodes(from, to); !s.ok()) return std::move(s).error().at(place);
    if (Status s = outputs(from, to); !s.ok()) return std::move(s).error().at(place);
    if (Status s = types(from, to); !s.ok()) return std::move(s).error().at(place);
    // Subgraphs last, when all names exist that they may read. Nodes still are in the file's order.
    flatbuffers::uoffset_t i = 0;
    for (Node& node : to.nodes())
      if (Status s = attributes(*from.nodes()->Get(i++), node); !s.ok())
        return std::move(s).error().at(place + ": " + node.describe());
    return sort_topologically(to);
  }

  Result<Value*> define(Graph& graph, const flatbuffers::String* name, const char* what) {
    ONNXTOOL_ASSIGN(std::string copy, text(context_, name));
    if (copy.empty()) return bad(std::string(what) + " has no name");
    if (graph.find(copy)) return bad("value '" + copy + "' is defined twice");
    for (Graph* g = graph.parent(); g; g = g->parent()) g->reserve_name(copy);
    return &graph.add_value(std::move(copy));
  }

  static Value* resolve(const Graph& graph, std::string_view name) {
    for (const Graph* g = &graph; g; g = g->parent())
      if (Value* v = g->find(name)) return v;
    return nullptr;
  }

  Status initializer(Graph& graph, NamedTensor tensor) {
    if (tensor.name.empty()) return bad("an initializer has no name");
    Value* v = graph.find(tensor.name);
    if (v && (v->initializer() || !v->is_graph_input()))
      return bad("initializer '" + tensor.name + "' is defined twice");
    if (!v) {
      for (Graph* g = graph.parent(); g; g = g->parent()) g->reserve_name(tensor.name);
      v = &graph.add_value(tensor.name);
    }
    graph.set_initializer(*v, std::move(tensor.tensor));
    return {};
  }

  Status values(const fb::Graph& from, Graph& to) {
    if (from.inputs()) {
      ONNXTOOL_TRY(context_.budget.spend(uint64_t{from.inputs()->size()} * sizeof(Value)));
      for (const flatbuffers::String* name : *from.inputs()) {
        ONNXTOOL_ASSIGN(Value * v, define(to, name, "a graph input"));
        to.add_input(*v);
      }
    }
    if (from.initializers())
      for (const fb::Tensor* t : *from.initializers()) {
        ONNXTOOL_ASSIGN(NamedTensor tensor, read_tensor(context_, t, "initializers"));
        ONNXTOOL_TRY(initializer(to, std::move(tensor)));
      }
    if (from.sparse_initializers())
      for (const fb::SparseTensor* t : *from.sparse_initializers()) {
        ONNXTOOL_ASSIGN(NamedTensor tensor, read_sparse_tensor(context_, t, "sparse initializers"));
        ONNXTOOL_TRY(initializer(to, std::move(tensor)));
      }
    return {};
  }

  Status types(const fb::Graph& from, Graph& to) {
    if (!from.node_args())
      return from.nodes() || from.inputs() ? Status(bad("node_args is absent")) : Status();
    std::unordered_set<const Value*> typed;
    for (const fb::ValueInfo* info : *from.node_args()) {
      if (!info || !info->name()) return bad("an entry of node_args has no name");
      if (info->name()->size() == 0) continue;  // stands for inputs and outputs that are left out
      Value* v = to.find(info->name()->string_view());
      if (!v) continue;  // of a graph around this one, or unused
      ONNXTOOL_ASSIGN(ValueType type,
                      read_type(context_, info->type(), "value '" + v->name() + "'"));
      if (!typed.insert(v).second)
        return bad("value '" + v->name() + "' stands in node_args twice");
      // An initializer's own type and dims are facts, unless callers may put another in its place.
      if (!v->initializer() || v->is_graph_input()) v->set_type(std::move(type));
      ONNXTOOL_ASSIGN(v->doc, text(context_, info->doc_string()));
      v->has_value_info = !v->initializer() && !v->is_graph_input() && !v->is_graph_output();
    }
    return {};
  }

  Status outputs(const fb::Graph& from, Graph& to) {
    if (!from.outputs()) return bad("outputs is absent");
    ONNXTOOL_TRY(context_.budget.spend(uint64_t{from.outputs()->size()} * sizeof(Value*)));
    for (const flatbuffers::String* name : *from.outputs()) {
      Value* v = name ? resolve(to, name->string_view()) : nullptr;
      if (!v)
        return bad("graph output '" + std::string(view(name)) + "' is not produced by any node");
      to.add_output(*v);
    }
    return {};
  }

  // --- nodes
  // ------------------------------------------------------------------------------------------

  Status nodes(const fb::Graph& from, Graph& to) {
    if (!from.nodes()) return {};
    std::unordered_set<uint32_t> indices;
    for (const fb::Node* n : *from.nodes()) {
      if (!n || view(n->op_type()).empty()) return bad("a node has no op_type");
      // Made for errors only: nodes may share a long string.
      const auto at = [n] {
        return "node #" + std::to_string(n->index()) + " (" + n->op_type()->str() + ")";
      };
      if (!indices.insert(n->index()).second)
        return bad("two nodes have the index " + std::to_string(n->index()));
      if (n->index() >= from.max_node_index())
        return bad(at() + ": max_node_index is " + std::to_string(from.max_node_index()) +
                   ", expected more than the index of every node");
      if (n->type() != fb::NodeType::Primitive)
        return bad(at() + ": is a fused node, which stands for a compiled part of a graph");
      if (!n->inputs() || !n->outputs())
        return bad(at() + ": " + (n->inputs() ? "outputs" : "inputs") + " is absent");
      for (const flatbuffers::String* name : *n->outputs())
        if (view(name).size()) {
          auto defined = define(to, name, "an output");
          if (!defined.ok()) return std::move(defined).error().at(at());
        }
    }
    for (const fb::Node* n : *from.nodes()) ONNXTOOL_TRY(node(*n, to));
    return {};
  }

  Status node(const fb::Node& from, Graph& to) {
    std::vector<Value*> in, out;
    ONNXTOOL_TRY(context_.budget.spend((uint64_t{from.inputs()->size()} + from.outputs()->size()) *
                                       sizeof(Value*)));
    for (const flatbuffers::String* name : *from.inputs()) {
      Value* v = view(name).empty() ? nullptr : resolve(to, name->string_view());
      if (!v && !view(name).empty())
        return bad("node #" + std::to_string(from.index()) + " (" + from.op_type()->str() +
                   "): input '" + name->str() + "' is not defined");
      in.push_back(v);
    }
    for (const flatbuffers::String* name : *from.outputs())
      out.push_back(view(name).empty() ? nullptr : to.find(name->string_view()));
    ONNXTOOL_ASSIGN(std::string op, text(context_, from.op_type()));
    ONNXTOOL_ASSIGN(std::string domain, text(context_, from.domain()));
    ONNXTOOL_ASSIGN(std::string name, text(context_, from.name()));
    if (domain == "ai.onnx") domain.clear();
    Node& made = to.add_node(std::move(op), std::move(domain), std::move(name), std::move(in),
                             std::move(out));
    ONNXTOOL_ASSIGN(made.doc, text(context_, from.doc_string()));
    return {};
  }

  Status attributes(const fb::Node& from, Node& node) {
    if (!from.attributes()) return {};
    for (const fb::Attribute* a : *from.attributes()) {
      if (!a || view(a->name()).empty()) return bad("an attribute has no name");
      const std::string at = "attribute '" + a->name()->str() + "'";
      if (node.attribute(a->name()->string_view())) return bad(at + " is given twice");
      ONNXTOOL_ASSIGN(Attribute made, attribute(*a, node, at));
      ONNXTOOL_ASSIGN(made.name, text(context_, a->name()));
      ONNXTOOL_ASSIGN(made.doc, text(context_, a->doc_string()));
      made.kind = static_cast<AttributeKind>(made.value.index());
      node.set_attribute(std::move(made));
    }
    return {};
  }

  Result<Attribute> attribute(const fb::Attribute& a, Node& node, const std::string& at) {
    Attribute out;
    switch (a.type()) {
      case fb::AttributeType::FLOAT: out.value = a.f(); break;
      case fb::AttributeType::INT: out.value = a.i(); break;
      case fb::AttributeType::STRING: {
        if (!a.s()) return bad(at + ": s is absent");
        ONNXTOOL_ASSIGN(std::string s, text(context_, a.s()));
        out.value = std::move(s);
        break;
      }
      case fb::AttributeType::TENSOR: {
        ONNXTOOL_ASSIGN(NamedTensor t, read_tensor(context_, a.t(), at));
        out.value = std::move(t);
        break;
      }
      case fb::AttributeType::GRAPH: {
        ONNXTOOL_ASSIGN(out.value, subgraph(a.g(), node, at));
        break;
      }
      case fb::AttributeType::FLOATS: {
        ONNXTOOL_ASSIGN(out.value, copied<float>(context_, a.floats(), at + ": floats"));
        break;
      }
      case fb::AttributeType::INTS: {
        ONNXTOOL_ASSIGN(out.value, copied<int64_t>(context_, a.ints(), at + ": ints"));
        break;
      }
      case fb::AttributeType::STRINGS: {
        ONNXTOOL_ASSIGN(out.value, strings(context_, a.strings(), at + ": strings"));
        break;
      }
      case fb::AttributeType::TENSORS: {
        if (!a.tensors()) return bad(at + ": tensors is absent");
        std::vector<NamedTensor> tensors;
        for (const fb::Tensor* t : *a.tensors()) {
          ONNXTOOL_ASSIGN(NamedTensor tensor, read_tensor(context_, t, at));
          tensors.push_back(std::move(tensor));
        }
        out.value = std::move(tensors);
        break;
      }
      case fb::AttributeType::GRAPHS: {
        if (!a.graphs()) return bad(at + ": graphs is absent");
        std::vector<std::unique_ptr<Graph>> graphs;
        for (const fb::Graph* g : *a.graphs()) {
          ONNXTOOL_ASSIGN(auto sub, subgraph(g, node, at));
          graphs.push_back(std::move(sub));
        }
        out.value = std::move(graphs);
        break;
      }
      default:
        return bad(at + ": the type is " + std::to_string(static_cast<int>(a.type())) +
                   ", which the format cannot hold");
    }
    return out;
  }

  Result<std::unique_ptr<Graph>> subgraph(const fb::Graph* from, Node& node,
                                          const std::string& at) {
    if (!from) return bad(at + ": the subgraph is absent");
    auto graph_made = std::make_unique<Graph>(&node.graph().model(), &node.graph());
    graph_made->name = "subgraph";
    ONNXTOOL_TRY(graph(*from, *graph_made, at));
    return graph_made;
  }

  Context context_;
};

}  // namespace

bool is_ort(std::span<const std::byte> bytes) {
  return bytes.size() >= 8 &&
         std::memcmp(bytes.data() + 4, fb::InferenceSessionIdentifier(), 4) == 0;
}

Result<std::unique_ptr<Model>> read_ort(std::span<const std::byte> bytes,
                                        std::shared_ptr<const Storage> owner, OrtFacts* facts) {
  if (!is_ort(bytes)) return bad("is no .ort file: the identifier ORTM is absent");
  if (bytes.size() >= FLATBUFFERS_MAX_BUFFER_SIZE)
    return Error{ErrorCode::kBadModel,
                 "has " + std::to_string(bytes.size()) + " bytes, and the format ends at 2 GiB",
                 {}};
  ONNXTOOL_CHECK(reinterpret_cast<uintptr_t>(bytes.data()) % 8 == 0);
  flatbuffers::Verifier verifier(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  if (!fb::VerifyInferenceSessionBuffer(verifier))
    return Error{ErrorCode::kBadModel,
                 "the .ort file is damaged: an offset or size in it is wrong, or it is nested too "
                 "deep or has too many tables",
                 "was it written or downloaded completely?"};
  const fb::InferenceSession& session = *fb::GetInferenceSession(bytes.data());
  if (facts) facts->format_version = std::string(view(session.ort_version()));
  return Reader(bytes, std::move(owner)).model(session);
}

}  // namespace onnxtool
