#include "libopt/ort/write.h"

#include <cstring>
#include <unordered_map>
#include <unordered_set>

#include "libopt/ort/write_parts.h"

namespace onnxtool {

using namespace ort_writing;

namespace {

// Of FlatBuffers' verifier, as every runtime calls it.
constexpr int kMaxTables = 1'000'000, kMaxDepth = 64;
constexpr uint64_t kMaxBytes = (uint64_t{1} << 31) - 1;
// The main graph lies in the model, which lies in the session.
constexpr int kMainGraphDepth = 3;

using Strings = std::vector<std::string>;

// Values, each once, in the order in which they came.
class ValueSet {
 public:
  void add(const Value* v) {
    if (seen_.insert(v).second) list_.push_back(v);
  }
  const std::vector<const Value*>& list() const { return list_; }

 private:
  std::vector<const Value*> list_;
  std::unordered_set<const Value*> seen_;
};

Strings names_of(const std::vector<Value*>& values) {
  Strings out;
  for (const Value* v : values) out.push_back(v ? v->name() : "");
  return out;
}

}  // namespace

// Builds the tables, subgraphs before the nodes that hold them.
class OrtLayout {
 public:
  OrtLayout(const Model& model, const OrtWriteOptions& options, const OrtOperators& operators,
            bool inner_shapes)
      : model_(model), options_(options), operators_(operators), inner_shapes_(inner_shapes) {}

  Result<OrtFile> file() {
    ONNXTOOL_ASSIGN(const auto model, model_table());
    const auto resolver = resolver_table();
    const auto version = b_.string(std::to_string(options_.format_version));
    b_.count(1, 1);
    b_.fbb.Finish(fb::CreateInferenceSession(b_.fbb, version, model, resolver),
                  fb::InferenceSessionIdentifier());
    OrtFile out;
    out.tables_ = b_.tables();
    out.shapes_left_out_ = !inner_shapes_;
    for (const PlacedPayload& p : place_payloads(b_, out.size_))
      out.payloads_.push_back({p.at, *p.tensor});
    ONNXTOOL_TRY(check_limits(out));
    const auto* start = reinterpret_cast<const std::byte*>(b_.fbb.GetBufferPointer());
    out.tables_bytes_.assign(start, start + b_.fbb.GetSize());
    return out;
  }

 private:
  Status check_limits(const OrtFile& file) const {
    if (b_.full() || file.size_ > kMaxBytes)
      return Error{
          ErrorCode::kLimit,
          b_.full()
              ? "names, strings and attributes alone pass the 2 GiB at which the .ort format ends"
              : "the .ort file would have " + std::to_string(file.size_) + " bytes, " +
                    std::to_string(file.payload_bytes()) +
                    " of them weights, and the format ends at " + std::to_string(kMaxBytes),
          "it has no external data: store the weights in fewer bits (onnxtool quantize), or split "
          "the model"};
    if (b_.depth() > kMaxDepth)
      return Error{
          ErrorCode::kLimit,
          "subgraphs are nested so deep that tables of the .ort file would be at more than " +
              std::to_string(kMaxDepth) + " levels, and onnxruntime reads no others",
          "18 levels of If, Loop or Scan fit"};
    if (b_.tables() > kMaxTables && !inner_shapes_)
      return Error{ErrorCode::kLimit,
                   "the .ort file would have " + std::to_string(b_.tables()) +
                       " tables even without the shapes of inner values, and onnxruntime reads " +
                       std::to_string(kMaxTables),
                   "each value and node takes several: split the model"};
    return {};
  }

  // --- the model
  // --------------------------------------------------------------------------------------

  Result<Offset<fb::Model>> model_table() {
    ValueSet outer;
    ONNXTOOL_ASSIGN(const auto graph, graph_table(model_.graph(), kMainGraphDepth, outer));
    ONNXTOOL_CHECK(outer.list().empty());
    std::vector<Offset<fb::OperatorSetId>> opsets;
    // Layout passes of the runtime insert nodes of both domains.
    std::vector<OpsetImport> imports = model_.opsets;
    if (model_.opset("") == 0) imports.push_back({"", kOpsetWithoutNodes});
    if (model_.opset("com.microsoft") == 0) imports.push_back({"com.microsoft", 1});
    for (const OpsetImport& o : imports) {
      b_.count(1, 3);
      opsets.push_back(fb::CreateOperatorSetId(
          b_.fbb, b_.string(o.domain == "ai.onnx" ? "" : o.domain), o.version));
    }
    std::vector<Offset<fb::StringStringEntry>> metadata;
    for (const auto& [key, value] : model_.metadata) {
      b_.count(1, 3);
      const auto k = b_.string(key), v = b_.string(value);
      metadata.push_back(fb::CreateStringStringEntry(b_.fbb, k, v));
    }
    b_.count(1, 2);
    const auto imported = b_.fbb.CreateVector(opsets);
    const auto entries = metadata.empty() ? 0 : b_.fbb.CreateVector(metadata);
    const auto producer = b_.string(model_.producer_name),
               version = b_.string(model_.producer_version), domain = b_.string(model_.domain),
               doc = b_.string(model_.doc), graph_doc = b_.string(model_.graph().doc);
    return fb::CreateModel(b_.fbb, model_.ir_version, imported, producer, version, domain,
                           model_.model_version, doc, graph, graph_doc, entries);
  }

  Offset<fb::KernelTypeStrResolver> resolver_table() {
    const auto args_of = [&](const OrtOperator::TypeArgs& t) {
      std::vector<Offset<fb::ArgTypeAndIndex>> args;
      for (const int i : t.inputs)
        args.push_back(
            fb::CreateArgTypeAndIndex(b_.fbb, fb::ArgType::INPUT, static_cast<uint32_t>(i)));
      for (const int o : t.outputs)
        args.push_back(
            fb::CreateArgTypeAndIndex(b_.fbb, fb::ArgType::OUTPUT, static_cast<uint32_t>(o)));
      b_.count(static_cast<int>(args.size()) + 1, 5);
      // One after the other: the order of arguments is the compiler's.
      const auto name = b_.string(t.name);
      return fb::CreateKernelTypeStrArgsEntry(b_.fbb, name, b_.fbb.CreateVector(args));
    };
    std::vector<Offset<fb::OpIdKernelTypeStrArgsEntry>> entries;
    for (const OrtOperator* op : operators_.all()) {
      std::vector<Offset<fb::KernelTypeStrArgsEntry>> types;
      for (const OrtOperator::TypeArgs& t : op->types) types.push_back(args_of(t));
      b_.count(1, 3);
      const auto id = b_.string(op->id);
      entries.push_back(
          fb::CreateOpIdKernelTypeStrArgsEntry(b_.fbb, id, b_.fbb.CreateVector(types)));
    }
    b_.count(1, 2);
    return fb::CreateKernelTypeStrResolver(b_.fbb, b_.fbb.CreateVector(entries));
  }

  // --- graphs
  // -----------------------------------------------------------------------------------------

  // `outer` gets what the graph and those in it read of graphs around it.
  Result<Offset<fb::Graph>> graph_table(const Graph& graph, int depth, ValueSet& outer) {
    if (depth > kMaxDepth) {  // before recursion goes on; check_limits() says it
      b_.count(0, depth);
      return Offset<fb::Graph>();
    }
    b_.count(1, depth);
    Indices indices;
    for (const Node& n : graph.nodes()) indices.emplace(&n, static_cast<uint32_t>(indices.size()));
    std::vector<std::vector<const Value*>> implicit;
    std::vector<Offset<fb::Node>> nodes;
    for (const Node& n : graph.nodes()) {
      ValueSet reads;
      ONNXTOOL_ASSIGN(const auto node, node_table(n, indices.at(&n), depth + 1, reads));
      nodes.push_back(node);
      implicit.push_back(reads.list());
      for (const Value* v : reads.list())
        if (&v->graph() != &graph) outer.add(v);
      for (const Value* v : n.inputs())
        if (v && &v->graph() != &graph) outer.add(v);
    }
    ONNXTOOL_ASSIGN(const auto initializers, initializer_tables(graph, depth));
    ONNXTOOL_ASSIGN(const auto args, node_args(graph, depth));
    const auto edges = edge_tables(graph, depth, indices, implicit);
    const auto fusions = write_fusions(b_, graph, options_.fusions, depth, indices);
    const auto inputs = b_.strings(names_of(graph.inputs())),
               outputs = b_.strings(names_of(graph.outputs()));
    const auto made = b_.fbb.CreateVector(nodes);
    return fb::CreateGraph(b_.fbb, initializers, args, made, static_cast<uint32_t>(nodes.size()),
                           edges, inputs, outputs, 0, fusions);
  }

  Result<Offset<flatbuffers::Vector<Offset<fb::Tensor>>>> initializer_tables(const Graph& graph,
                                                                             int depth) {
    std::vector<Offset<fb::Tensor>> out;
    for (const Value* v : graph.initializers()) {
      ONNXTOOL_ASSIGN(const auto tensor, write_tensor(b_, v->name(), *v->initializer(), depth,
                                                      "initializer '" + v->name() + "'"));
      out.push_back(tensor);
    }
    return b_.fbb.CreateVector(out);
  }

  // Every value that a node of this graph or its header names, those of outer graphs included; and
  // the name "" once where something is left out.
  Result<Offset<flatbuffers::Vector<Offset<fb::ValueInfo>>>> node_args(const Graph& graph,
                                                                       int depth) {
    ValueSet values;
    bool omitted = false;
    const auto add = [&](const std::vector<Value*>& list) {
      for (const Value* v : list) v ? values.add(v) : void(omitted = true);
    };
    add(graph.inputs());
    add(graph.outputs());
    add(graph.initializers());
    for (const Node& n : graph.nodes()) {
      add(n.inputs());
      add(n.outputs());
    }
    std::vector<Offset<fb::ValueInfo>> out;
    for (const Value* v : values.list()) {
      const bool with_shape =
          inner_shapes_ || v->is_graph_input() || v->is_graph_output() || v->initializer();
      const std::string at = "value '" + v->name() + "'" +
                             (v->producer() ? ", made by " + v->producer()->describe() + "," : "");
      ONNXTOOL_ASSIGN(const auto type, write_type(b_, v->type(), with_shape, depth + 1, at));
      b_.count(1, depth + 1);
      const auto name = b_.string(v->name()), doc = b_.string(v->doc);
      out.push_back(fb::CreateValueInfo(b_.fbb, name, doc, type));
    }
    if (omitted) {
      b_.count(1, depth + 1);
      out.push_back(fb::CreateValueInfo(b_.fbb, b_.string("")));
    }
    return b_.fbb.CreateVector(out);
  }

  // A connection is written at both of its ends. Implicit inputs are numbered behind the explicit
  // ones.
  Offset<flatbuffers::Vector<Offset<fb::NodeEdge>>> edge_tables(
      const Graph& graph, int depth, const Indices& indices,
      const std::vector<std::vector<const Value*>>& implicit) {
    std::vector<std::vector<fb::EdgeEnd>> in(indices.size()), out(indices.size());
    const auto connect = [&](const Value* v, uint32_t consumer, size_t slot) {
      if (!v || !v->producer() || &v->graph() != &graph) return;
      const uint32_t producer = indices.at(v->producer());
      in[consumer].emplace_back(producer, v->producer_index(), static_cast<int32_t>(slot));
      out[producer].emplace_back(consumer, v->producer_index(), static_cast<int32_t>(slot));
    };
    uint32_t at = 0;
    for (const Node& n : graph.nodes()) {
      for (size_t i = 0; i < n.inputs().size(); ++i) connect(n.inputs()[i], at, i);
      for (size_t i = 0; i < implicit[at].size(); ++i)
        connect(implicit[at][i], at, n.inputs().size() + i);
      ++at;
    }
    std::vector<Offset<fb::NodeEdge>> edges;
    for (uint32_t i = 0; i < indices.size(); ++i) {
      b_.count(1, depth + 1);
      const auto inputs = b_.fbb.CreateVectorOfStructs(in[i]),
                 outputs = b_.fbb.CreateVectorOfStructs(out[i]);
      edges.push_back(fb::CreateNodeEdge(b_.fbb, i, inputs, outputs));
    }
    return b_.fbb.CreateVector(edges);
  }

  // --- nodes
  // ------------------------------------------------------------------------------------------

  Result<Offset<fb::Node>> node_table(const Node& n, uint32_t index, int depth,
                                      ValueSet& implicit) {
    const OrtOperator& op = operators_.find(n);
    std::vector<Offset<fb::Attribute>> attributes;
    const auto add = [&](const Attribute& a) -> Status {
      auto written = attribute_table(a, n, depth + 1, implicit);
      if (!written.ok()) return std::move(written).error();
      attributes.push_back(*written);
      return {};
    };
    for (const Attribute& a : n.attributes()) ONNXTOOL_TRY(add(a));
    for (const Attribute& a : op.defaults)
      if (!n.attribute(a.name)) ONNXTOOL_TRY(add(a));
    Strings outside;
    for (const Value* v : implicit.list()) outside.push_back(v->name());
    b_.count(1, depth);
    const auto name = b_.string(n.name()), doc = b_.string(n.doc), domain = b_.string(n.domain()),
               type = b_.string(n.op_type());
    const auto inputs = b_.strings(names_of(n.inputs())),
               outputs = b_.strings(names_of(n.outputs())), reads = b_.strings(outside);
    const auto made = b_.fbb.CreateVector(attributes);
    const auto counts = b_.numbers(ort_input_counts(op, n.num_inputs()));
    return fb::CreateNode(b_.fbb, name, doc, domain, op.since_version, index, type,
                          fb::NodeType::Primitive, 0, inputs, outputs, made, counts, reads);
  }

  Result<Offset<fb::Attribute>> attribute_table(const Attribute& a, const Node& n, int depth,
                                                ValueSet& implicit) {
    const std::string at = n.describe() + ": attribute '" + a.name + "'";
    Offset<flatbuffers::String> s;
    Offset<fb::Tensor> t;
    Offset<fb::Graph> g;
    Offset<flatbuffers::Vector<float>> floats;
    Offset<flatbuffers::Vector<int64_t>> ints;
    Offset<flatbuffers::Vector<Offset<flatbuffers::String>>> strings;
    Offset<flatbuffers::Vector<Offset<fb::Tensor>>> tensors;
    switch (a.kind) {
      case AttributeKind::kFloat:
      case AttributeKind::kInt: break;
      case AttributeKind::kString: s = b_.string(*a.get<std::string>()); break;
      case AttributeKind::kTensor: {
        ONNXTOOL_ASSIGN(t, write_tensor(b_, a.get<NamedTensor>()->name,
                                        a.get<NamedTensor>()->tensor, depth, at));
        break;
      }
      case AttributeKind::kGraph: {
        ONNXTOOL_ASSIGN(g, graph_table(**a.get<std::unique_ptr<Graph>>(), depth + 1, implicit));
        break;
      }
      case AttributeKind::kFloats: floats = b_.numbers(*a.get<std::vector<float>>()); break;
      case AttributeKind::kInts: ints = b_.numbers(*a.get<std::vector<int64_t>>()); break;
      case AttributeKind::kStrings: strings = b_.strings(*a.get<Strings>()); break;
      case AttributeKind::kTensors: {
        std::vector<Offset<fb::Tensor>> list;
        for (const NamedTensor& tensor : *a.get<std::vector<NamedTensor>>()) {
          ONNXTOOL_ASSIGN(const auto one, write_tensor(b_, tensor.name, tensor.tensor, depth, at));
          list.push_back(one);
        }
        tensors = b_.fbb.CreateVector(list);
        break;
      }
      default:
        return Error{ErrorCode::kUnsupported,
                     at + " is of kind " + std::to_string(static_cast<int>(a.kind)) +
                         ", which the .ort format cannot hold",
                     {}};
    }
    b_.count(1, depth);
    const auto name = b_.string(a.name), doc = b_.string(a.doc);
    return fb::CreateAttribute(b_.fbb, name, doc, static_cast<fb::AttributeType>(a.kind),
                               a.get<float>() ? *a.get<float>() : 0,
                               a.get<int64_t>() ? *a.get<int64_t>() : 0, s, t, g, floats, ints,
                               strings, tensors);
  }

  // The import of ai.onnx in a model without: known to every release that reads the format.
  static constexpr int64_t kOpsetWithoutNodes = 13;

  const Model& model_;
  const OrtWriteOptions& options_;
  const OrtOperators& operators_;
  bool inner_shapes_;
  Builder b_;
};

uint64_t OrtFile::payload_bytes() const {
  uint64_t sum = 0;
  for (const Payload& p : payloads_) sum += p.tensor.size_bytes();
  return sum;
}

template <class F>
Status OrtFile::emit(const F& write) const {
  constexpr std::byte kZeros[kPayloadAlignment] = {};
  ONNXTOOL_TRY(write(std::span<const std::byte>(tables_bytes_)));
  uint64_t at = tables_bytes_.size();
  for (const Payload& p : payloads_) {
    ONNXTOOL_TRY(write(std::span(kZeros).first(p.at - at)));
    std::byte length[sizeof(uint32_t)];
    flatbuffers::WriteScalar(length, static_cast<uint32_t>(p.tensor.size_bytes()));
    ONNXTOOL_TRY(write(std::span<const std::byte>(length)));
    ONNXTOOL_TRY(write(p.tensor.bytes()));
    at = p.at + sizeof length + p.tensor.size_bytes();
  }
  return {};
}

Status OrtFile::write(AtomicFile& file) const {
  return emit([&](std::span<const std::byte> bytes) { return file.write(bytes); });
}

std::vector<std::byte> OrtFile::flatten() const {
  std::vector<std::byte> out;
  const Status written = emit([&](std::span<const std::byte> bytes) -> Status {
    out.insert(out.end(), bytes.begin(), bytes.end());
    return {};
  });
  ONNXTOOL_CHECK(written.ok());
  return out;
}

Result<OrtFile> lay_out_ort(const Model& model, const OrtWriteOptions& options) {
  ONNXTOOL_ASSIGN(OrtOperators operators, OrtOperators::of(model, options.custom_operators));
  for (const OrtFusionRecord& f : options.fusions)
    if (!f.op_type.empty()) operators.add(f.domain, f.op_type, f.since_version);
  ONNXTOOL_ASSIGN(OrtFile file, OrtLayout(model, options, operators, true).file());
  if (file.tables() <= kMaxTables) return file;
  return OrtLayout(model, options, operators, false).file();
}

}  // namespace onnxtool
