#include "libopt/io/decode.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <unordered_map>

#include "libopt/analysis/order.h"
#include "libopt/io/wire.h"
#include "libopt/support/checked.h"

namespace onnxtool {
namespace {

using wire::Bytes;
using wire::Field;
using wire::Reader;
using wire::WireType;

// Deeper nesting of subgraphs (or of container types) is refused: recursion must stay bounded.
// onnx's own messages are parsed per node with protobuf's limit of 100, and a subgraph takes three
// levels.
constexpr int kMaxDepth = 30;

Error bad(std::string message) { return Error{ErrorCode::kBadModel, std::move(message), {}}; }

// Calls f(field) for each field of the message; f returns a Status.
template <class F>
Status for_each_field(Bytes message, F&& f) {
  Reader reader(message);
  while (!reader.done()) {
    ONNXTOOL_ASSIGN(const Field field, reader.next());
    ONNXTOOL_TRY(f(field));
  }
  return {};
}

// A message or string in a field that must hold one.
Status expect_bytes(const Field& f, const char* what) {
  if (f.type != WireType::kBytes)
    return bad(std::string("field ") + std::to_string(f.number) + " of " + what +
               " has the wrong wire type");
  return {};
}

void keep(std::string& unknown, const Field& f) { unknown.append(wire::text(f.raw)); }

Result<std::pair<std::string, std::string>> decode_entry(Bytes message) {
  std::pair<std::string, std::string> entry;
  ONNXTOOL_TRY(for_each_field(message, [&](const Field& f) -> Status {
    if (f.number == 1) entry.first = f.string();
    if (f.number == 2) entry.second = f.string();
    return {};
  }));
  return entry;
}

Result<OpsetImport> decode_opset(Bytes message) {
  OpsetImport o;
  ONNXTOOL_TRY(for_each_field(message, [&](const Field& f) -> Status {
    if (f.number == 1) o.domain = f.string();
    if (f.number == 2) o.version = f.int64();
    return {};
  }));
  if (o.version < 0 || o.version > std::numeric_limits<int>::max())
    return bad("opset import of '" + o.domain + "' has the impossible version " +
               std::to_string(o.version));
  if (o.domain == "ai.onnx") o.domain.clear();
  return o;
}

// Of two imports of one domain the last counts, as for ONNX Runtime and onnx's checker.
void add_opset(std::vector<OpsetImport>& opsets, OpsetImport import) {
  for (OpsetImport& o : opsets)
    if (o.domain == import.domain) {
      o.version = import.version;
      return;
    }
  opsets.push_back(std::move(import));
}

Result<std::vector<Dim>> decode_shape(Bytes message) {
  std::vector<Dim> shape;
  ONNXTOOL_TRY(for_each_field(message, [&](const Field& f) -> Status {
    if (f.number != 1) return {};
    ONNXTOOL_TRY(expect_bytes(f, "a shape"));
    Dim d;
    ONNXTOOL_TRY(for_each_field(f.bytes, [&](const Field& g) -> Status {
      if (g.number == 1) d.value = g.int64(), d.symbol.clear();
      if (g.number == 2) d.symbol = g.string(), d.value.reset();
      if (g.number == 3) d.denotation = g.string();
      return {};
    }));
    // Exporters write 0 or a negative extent for "unknown"; zero can be meant, negative cannot.
    if (d.value && *d.value < 0) d.value.reset();
    shape.push_back(std::move(d));
    return {};
  }));
  return shape;
}

Result<ValueType> decode_type(Bytes message, int depth) {
  if (depth > kMaxDepth)
    return bad("types are nested more than " + std::to_string(kMaxDepth) + " deep");
  ValueType t;
  const auto inner = [&](Bytes m, ValueType::Kind kind, uint32_t key_field,
                         uint32_t element_field) -> Status {
    t.kind = kind;
    return for_each_field(m, [&](const Field& g) -> Status {
      if (g.number == key_field) t.dtype = static_cast<DataType>(g.int64());
      if (g.number == element_field && g.type == WireType::kBytes) {
        ONNXTOOL_ASSIGN(ValueType element, decode_type(g.bytes, depth + 1));
        t.element = std::make_shared<const ValueType>(std::move(element));
      }
      return {};
    });
  };
  ONNXTOOL_TRY(for_each_field(message, [&](const Field& f) -> Status {
    if (f.type != WireType::kBytes) return {};
    switch (f.number) {
      case 1:
      case 8:
        t.kind = f.number == 1 ? ValueType::Kind::kTensor : ValueType::Kind::kSparseTensor;
        return for_each_field(f.bytes, [&](const Field& g) -> Status {
          if (g.number == 1) t.dtype = static_cast<DataType>(g.int64());
          if (g.number == 2) {
            ONNXTOOL_TRY(expect_bytes(g, "a tensor type"));
            ONNXTOOL_ASSIGN(t.shape, decode_shape(g.bytes));
          }
          return {};
        });
      case 4: return inner(f.bytes, ValueType::Kind::kSequence, 0, 1);
      case 5: return inner(f.bytes, ValueType::Kind::kMap, 1, 2);
      case 9: return inner(f.bytes, ValueType::Kind::kOptional, 0, 1);
      case 6: t.denotation = f.string(); return {};
      case 7:
        t.kind = ValueType::Kind::kOpaque;
        return for_each_field(f.bytes, [&](const Field& g) -> Status {
          if (g.number == 1) t.opaque_domain = g.string();
          if (g.number == 2) t.opaque_name = g.string();
          return {};
        });
      default: return {};
    }
  }));
  return t;
}

// What is kept of a TensorProto beside its name and content.
struct TensorRemarks {
  std::string doc, unknown;
  Properties metadata;
};

// The typed *_data fields of a TensorProto, gathered before the element type is known.
struct TensorFields {
  std::string name;
  TensorRemarks remarks;
  std::vector<int64_t> dims, int32_data, int64_data, uint64_data;
  std::vector<float> float_data;
  std::vector<double> double_data;
  std::vector<std::string> string_data;
  std::optional<Bytes> raw;
  int32_t data_type = 0;
  bool external = false;
  Properties external_data;
};

template <class T, class Source>
std::vector<std::byte> narrowed(const Source& values) {
  std::vector<std::byte> out(values.size() * sizeof(T));
  for (size_t i = 0; i < values.size(); ++i) {
    const T v = static_cast<T>(values[i]);
    std::memcpy(out.data() + i * sizeof(T), &v, sizeof(T));
  }
  return out;
}

// Elements from the typed field that the specification assigns to the element type.
Result<std::vector<std::byte>> typed_bytes(const TensorFields& t, DataType dtype) {
  switch (dtype) {
    case DataType::kFloat:
    case DataType::kComplex64: return narrowed<float>(t.float_data);
    case DataType::kDouble:
    case DataType::kComplex128: return narrowed<double>(t.double_data);
    case DataType::kInt64: return narrowed<int64_t>(t.int64_data);
    case DataType::kUint64: return narrowed<uint64_t>(t.uint64_data);
    case DataType::kUint32: return narrowed<uint32_t>(t.uint64_data);
    case DataType::kInt32: return narrowed<int32_t>(t.int32_data);
    default: break;
  }
  if (bits_of(dtype) == 16) return narrowed<uint16_t>(t.int32_data);
  if (bits_of(dtype) <= 8) return narrowed<uint8_t>(t.int32_data);
  return bad("tensor '" + t.name + "' has an element type without a data field");
}

Result<uint64_t> external_number(const TensorFields& t, const std::string& key,
                                 const std::string& text) {
  uint64_t v = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), v);
  if (error != std::errc() || end != text.data() + text.size() || text.empty())
    return bad("tensor '" + t.name + "': external data " + key + " is '" + text +
               "', expected a number of bytes");
  return v;
}

class Decoder {
 public:
  explicit Decoder(const DecodeSource& source) : source_(source) {}

  Result<std::unique_ptr<Model>> model() {
    auto m = std::make_unique<Model>();
    model_ = m.get();
    std::optional<Bytes> graph;
    std::vector<Bytes> functions;
    ONNXTOOL_TRY(for_each_field(source_.bytes, [&](const Field& f) -> Status {
      const bool is_bytes = f.type == WireType::kBytes;
      if (f.number == 1 && !is_bytes)
        m->ir_version = f.int64();
      else if (f.number == 5 && !is_bytes)
        m->model_version = f.int64();
      else if (!is_bytes)
        keep(m->unknown_fields, f);
      else if (f.number == 2)
        m->producer_name = f.string();
      else if (f.number == 3)
        m->producer_version = f.string();
      else if (f.number == 4)
        m->domain = f.string();
      else if (f.number == 6)
        m->doc = f.string();
      else if (f.number == 7) {
        if (graph) return bad("the model has two graphs");
        graph = f.bytes;
      } else if (f.number == 8) {
        ONNXTOOL_ASSIGN(OpsetImport o, decode_opset(f.bytes));
        add_opset(m->opsets, std::move(o));
      } else if (f.number == 14) {
        ONNXTOOL_ASSIGN(auto entry, decode_entry(f.bytes));
        m->metadata.push_back(std::move(entry));
      } else if (f.number == 25)
        functions.push_back(f.bytes);
      else if (f.number == 20)
        m->opaque_fields.emplace_back(wire::text(f.raw));
      else
        keep(m->unknown_fields, f);
      return {};
    }));
    if (!graph || m->ir_version <= 0)
      return Error{ErrorCode::kBadModel, !graph ? "no graph found" : "no ir_version found",
                   "the file is no ONNX model"};
    if (m->opsets.empty()) m->opsets.push_back({"", 1});  // IR 1 and 2 had no opset_import
    ONNXTOOL_TRY(graph_into(*graph, m->graph(), 0));
    for (Bytes f : functions) ONNXTOOL_TRY(function(f));
    m->had_external_data = had_external_;
    model_ = nullptr;
    return m;
  }

  Result<NamedTensor> tensor(Bytes message, TensorRemarks* remarks = nullptr) {
    TensorFields t;
    ONNXTOOL_TRY(for_each_field(message, [&](const Field& f) -> Status {
      switch (f.number) {
        case 1: return wire::append_ints(f, t.dims);
        case 2: t.data_type = static_cast<int32_t>(f.int64()); return {};
        case 3:
          return bad("tensor '" + t.name +
                     "' is a segment of a larger one, which no runtime supports");
        case 4: return wire::append_floats(f, t.float_data);
        case 5: return wire::append_ints(f, t.int32_data);
        case 6: t.string_data.push_back(f.string()); return {};
        case 7: return wire::append_ints(f, t.int64_data);
        case 8: t.name = f.string(); return {};
        case 9: t.raw = f.bytes; return expect_bytes(f, "a tensor");
        case 10: return wire::append_doubles(f, t.double_data);
        case 11: return wire::append_ints(f, t.uint64_data);
        case 12: t.remarks.doc = f.string(); return {};
        case 13: {
          ONNXTOOL_ASSIGN(auto entry, decode_entry(f.bytes));
          t.external_data.push_back(std::move(entry));
          return {};
        }
        case 14: t.external = f.int64() == 1; return {};
        case 16: {
          ONNXTOOL_TRY(expect_bytes(f, "a tensor"));
          ONNXTOOL_ASSIGN(auto entry, decode_entry(f.bytes));
          t.remarks.metadata.push_back(std::move(entry));
          return {};
        }
        default: keep(t.remarks.unknown, f); return {};
      }
    }));
    if (remarks) *remarks = std::move(t.remarks);
    ONNXTOOL_ASSIGN(Tensor value, tensor_from(t));
    return NamedTensor{std::move(t.name), std::move(value)};
  }

  Result<Attribute> attribute(Bytes message, Graph* owner, int depth) {
    Attribute a;
    int64_t declared = 0;
    float f32 = 0;
    int64_t i64 = 0;
    std::string s;
    std::vector<float> floats;
    std::vector<int64_t> ints;
    std::vector<std::string> strings;
    std::vector<NamedTensor> tensors;
    std::vector<std::unique_ptr<Graph>> graphs;
    std::vector<SparseTensor> sparse;
    std::vector<ValueType> types;
    AttributeKind seen = AttributeKind::kUndefined;
    ONNXTOOL_TRY(for_each_field(message, [&](const Field& f) -> Status {
      switch (f.number) {
        case 1: a.name = f.string(); return {};
        case 2:
          f32 = f.float32();
          seen = AttributeKind::kFloat;
          return {};
        case 3:
          i64 = f.int64();
          seen = AttributeKind::kInt;
          return {};
        case 4:
          s = f.string();
          seen = AttributeKind::kString;
          return {};
        case 5:
        case 10: {
          ONNXTOOL_ASSIGN(NamedTensor t, tensor(f.bytes));
          tensors.push_back(std::move(t));
          seen = f.number == 5 ? AttributeKind::kTensor : AttributeKind::kTensors;
          return {};
        }
        case 6:
        case 11: {
          if (!owner) return bad("a subgraph stands where none is allowed");
          auto g = std::make_unique<Graph>(&owner->model(), owner);
          ONNXTOOL_TRY(graph_into(f.bytes, *g, depth + 1));
          graphs.push_back(std::move(g));
          seen = f.number == 6 ? AttributeKind::kGraph : AttributeKind::kGraphs;
          return {};
        }
        case 7: seen = AttributeKind::kFloats; return wire::append_floats(f, floats);
        case 8: seen = AttributeKind::kInts; return wire::append_ints(f, ints);
        case 9:
          strings.push_back(f.string());
          seen = AttributeKind::kStrings;
          return {};
        case 13: a.doc = f.string(); return {};
        case 14:
        case 15: {
          ONNXTOOL_ASSIGN(ValueType t, decode_type(f.bytes, 0));
          types.push_back(std::move(t));
          seen = f.number == 14 ? AttributeKind::kType : AttributeKind::kTypes;
          return {};
        }
        case 20: declared = f.int64(); return {};
        case 21: a.ref = f.string(); return {};
        case 22:
        case 23: {
          ONNXTOOL_ASSIGN(SparseTensor t, sparse_tensor(f.bytes));
          sparse.push_back(std::move(t));
          seen = f.number == 22 ? AttributeKind::kSparseTensor : AttributeKind::kSparseTensors;
          return {};
        }
        default: keep(a.unknown_fields, f); return {};
      }
    }));
    if (declared < 0 || declared > 14)
      return bad("attribute '" + a.name + "' has unknown type " + std::to_string(declared));
    // IR 1 files lack the type; an empty list has no field at all, so the declared type wins.
    a.kind = declared ? static_cast<AttributeKind>(declared) : seen;
    if (!a.ref.empty()) return a;
    const auto one = [&](auto& list) -> Status {
      if (list.size() != 1)
        return bad("attribute '" + a.name + "' has " + std::to_string(list.size()) +
                   " values, expected 1");
      a.value = std::move(list[0]);
      return {};
    };
    switch (a.kind) {
      case AttributeKind::kUndefined: break;
      case AttributeKind::kFloat: a.value = f32; break;
      case AttributeKind::kInt: a.value = i64; break;
      case AttributeKind::kString: a.value = std::move(s); break;
      case AttributeKind::kTensor: ONNXTOOL_TRY(one(tensors)); break;
      case AttributeKind::kGraph: ONNXTOOL_TRY(one(graphs)); break;
      case AttributeKind::kFloats: a.value = std::move(floats); break;
      case AttributeKind::kInts: a.value = std::move(ints); break;
      case AttributeKind::kStrings: a.value = std::move(strings); break;
      case AttributeKind::kTensors: a.value = std::move(tensors); break;
      case AttributeKind::kGraphs: a.value = std::move(graphs); break;
      case AttributeKind::kSparseTensor: ONNXTOOL_TRY(one(sparse)); break;
      case AttributeKind::kSparseTensors: a.value = std::move(sparse); break;
      case AttributeKind::kType: ONNXTOOL_TRY(one(types)); break;
      case AttributeKind::kTypes: a.value = std::move(types); break;
    }
    return a;
  }

 private:
  struct NodeFields {
    std::vector<std::string> inputs, outputs;
    std::string name, op_type, domain, overload, doc, unknown;
    Properties metadata;
    std::vector<Bytes> attributes;
  };

  Result<Tensor> tensor_from(const TensorFields& t) {
    const auto dtype = static_cast<DataType>(t.data_type);
    const auto where = [&] { return "tensor '" + t.name + "'"; };
    if (dtype != DataType::kString && bits_of(dtype) == 0)
      return bad(where() + " has unknown element type " + std::to_string(t.data_type));
    const auto count = checked_product(t.dims);
    // 2^56 elements of at most 16 bytes still fit int64: no later product of sizes can overflow.
    if (!count || *count > (int64_t{1} << 56))
      return bad(where() + " has impossible dims " + format_dims(t.dims));
    if (dtype == DataType::kString) {
      if (static_cast<int64_t>(t.string_data.size()) != *count)
        return bad(where() + " has " + std::to_string(t.string_data.size()) +
                   " strings, expected " + std::to_string(*count));
      return Tensor::from_strings(t.dims, t.string_data);
    }
    const uint64_t expected = size_bytes_of(dtype, static_cast<uint64_t>(*count));
    const auto check_size = [&](uint64_t found) -> Status {
      if (found == expected) return {};
      return bad(where() + " has " + std::to_string(found) + " bytes, expected " +
                 std::to_string(expected) + " for " + std::string(name(dtype)) +
                 format_dims(t.dims));
    };
    if (t.external) return external_tensor(t, dtype, expected);
    if (t.raw) {
      ONNXTOOL_TRY(check_size(t.raw->size()));
      return Tensor(dtype, t.dims, *t.raw, source_.owner);
    }
    ONNXTOOL_ASSIGN(std::vector<std::byte> bytes, typed_bytes(t, dtype));
    ONNXTOOL_TRY(check_size(bytes.size()));
    return Tensor::from_bytes(dtype, t.dims, std::move(bytes));
  }

  Result<Tensor> external_tensor(const TensorFields& t, DataType dtype, uint64_t expected) {
    had_external_ = true;
    std::string location;
    uint64_t offset = 0;
    std::optional<uint64_t> length;
    for (const auto& [key, value] : t.external_data) {
      if (key == "location") location = value;
      if (key == "offset") {
        ONNXTOOL_ASSIGN(offset, external_number(t, key, value));
      }
      if (key == "length") {
        ONNXTOOL_ASSIGN(length, external_number(t, key, value));
      }
    }
    if (!source_.data_directory)
      return Error{ErrorCode::kBadModel,
                   "tensor '" + t.name + "' is stored in the file '" + location +
                       "', but the model was not read from a directory",
                   "give the model as a file instead of through a pipe"};
    auto opened = source_.data_directory->open(location);
    if (!opened.ok()) return std::move(opened).error().at("tensor '" + t.name + "'");
    const std::shared_ptr<const MappedFile> file = *std::move(opened);
    const uint64_t size = file->bytes().size();
    if (length && *length != expected)
      return bad("tensor '" + t.name + "': external data length is " + std::to_string(*length) +
                 " bytes, expected " + std::to_string(expected));
    if (offset > size || expected > size - offset)
      return bad("tensor '" + t.name + "': external data at offset " + std::to_string(offset) +
                 " needs " + std::to_string(expected) + " bytes, but '" + location + "' has " +
                 std::to_string(size));
    return Tensor(dtype, t.dims, file->bytes().subspan(offset, expected), file);
  }

  Result<SparseTensor> sparse_tensor(Bytes message) {
    SparseTensor s;
    ONNXTOOL_TRY(for_each_field(message, [&](const Field& f) -> Status {
      if (f.number == 3) return wire::append_ints(f, s.dims);
      if (f.number != 1 && f.number != 2) return {};
      ONNXTOOL_ASSIGN((f.number == 1 ? s.values : s.indices), tensor(f.bytes));
      return {};
    }));
    for (const NamedTensor* part : {&s.values, &s.indices})
      if (part->tensor.dtype() == DataType::kUndefined)
        return bad("a sparse tensor lacks its values or indices");
    return s;
  }

  Result<NodeFields> node_fields(Bytes message) {
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

  // Applies a ValueInfoProto: creates the value where `create`, else only types an existing one.
  Status value_info(Bytes message, Graph& graph, bool create, Value** out) {
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

  Value* resolve(Graph& graph, const std::string& name) {
    for (Graph* g = &graph; g; g = g->parent())
      if (Value* v = g->find(name)) return v;
    return nullptr;
  }

  // Values defined in a subgraph may not be reused as fresh names outside.
  void claim(Graph& graph, const std::string& name) {
    for (Graph* g = graph.parent(); g; g = g->parent()) g->reserve_name(name);
  }

  Status define(Graph& graph, const std::string& name, const std::string& place) {
    if (graph.find(name)) return bad(place + ": value '" + name + "' is defined twice");
    graph.add_value(name);
    claim(graph, name);
    return {};
  }

  // Some exporters append Constant nodes of names that are taken by Constant nodes. onnxruntime
  // keeps such constants apart from the nodes, by name, so that the last one holds for all readers:
  // so here. Every other value that is defined twice is an error.
  void drop_overridden_constants(std::vector<NodeFields>& nodes) {
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

  // Second half of reading a graph or function body: values of all nodes first, then their inputs,
  // so that a file in any order resolves; subgraphs last, when all outer names exist.
  Status nodes_into(std::vector<NodeFields>& nodes, Graph& graph, int depth) {
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
          return bad("node '" + n.name + "' (" + n.op_type + "): input '" + in +
                     "' is not defined");
        inputs.push_back(v);
      }
      for (const std::string& out : n.outputs)
        outputs.push_back(out.empty() ? nullptr : graph.find(out));
      Node& node =
          graph.add_node(n.op_type, n.domain, n.name, std::move(inputs), std::move(outputs));
      graph.set_overload(node, n.overload);
      node.doc = n.doc;
      node.metadata = n.metadata;
      node.unknown_fields = n.unknown;
      made.push_back(&node);
    }
    for (size_t i = 0; i < nodes.size(); ++i)
      for (Bytes a : nodes[i].attributes) {
        auto decoded = attribute(a, &graph, depth);
        if (!decoded.ok()) return std::move(decoded).error().at(made[i]->describe());
        if (made[i]->attribute(decoded->name))
          return bad(made[i]->describe() + ": attribute '" + decoded->name + "' is given twice");
        made[i]->set_attribute(*std::move(decoded));
      }
    return {};
  }

  Status graph_into(Bytes message, Graph& graph, int depth) {
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
          ONNXTOOL_ASSIGN(SparseTensor s, sparse_tensor(f.bytes));
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
      ONNXTOOL_ASSIGN(NamedTensor t, tensor(b, &remarks));
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

  Status function(Bytes message) {
    Function fn;
    fn.body = std::make_unique<Graph>(model_, nullptr);
    std::vector<std::string> inputs, outputs;
    std::vector<NodeFields> nodes;
    std::vector<Bytes> infos, defaults;
    ONNXTOOL_TRY(for_each_field(message, [&](const Field& f) -> Status {
      switch (f.number) {
        case 1: fn.name = f.string(); break;
        case 4: inputs.push_back(f.string()); break;
        case 5: outputs.push_back(f.string()); break;
        case 6: fn.attributes.push_back(f.string()); break;
        case 7: {
          ONNXTOOL_ASSIGN(NodeFields n, node_fields(f.bytes));
          nodes.push_back(std::move(n));
          break;
        }
        case 8: fn.doc = f.string(); break;
        case 9: {
          ONNXTOOL_ASSIGN(OpsetImport o, decode_opset(f.bytes));
          add_opset(fn.opsets, std::move(o));
          break;
        }
        case 10: fn.domain = f.string(); break;
        case 11: defaults.push_back(f.bytes); break;
        case 12: infos.push_back(f.bytes); break;
        case 13: fn.overload = f.string(); break;
        case 14: {
          ONNXTOOL_ASSIGN(auto entry, decode_entry(f.bytes));
          fn.metadata.push_back(std::move(entry));
          break;
        }
        default: keep(fn.unknown_fields, f);
      }
      return {};
    }));
    const std::string place = "function '" + fn.domain + "." + fn.name + "'";
    for (const std::string& name : inputs) {
      ONNXTOOL_TRY(define(*fn.body, name, place));
      fn.body->add_input(*fn.body->find(name));
    }
    ONNXTOOL_TRY(nodes_into(nodes, *fn.body, 0));
    for (const std::string& name : outputs) {
      Value* v = fn.body->find(name);
      if (!v) return bad(place + ": output '" + name + "' is not produced by any node");
      fn.body->add_output(*v);
    }
    for (Bytes b : defaults) {
      ONNXTOOL_ASSIGN(Attribute a, attribute(b, fn.body.get(), 0));
      fn.attribute_defaults.push_back(std::move(a));
    }
    for (Bytes b : infos) ONNXTOOL_TRY(value_info(b, *fn.body, false, nullptr));
    ONNXTOOL_TRY(sort_topologically(*fn.body));
    model_->functions.push_back(std::move(fn));
    return {};
  }

  const DecodeSource& source_;
  Model* model_ = nullptr;
  bool had_external_ = false;
};

DecodeSource source_of(const std::string& bytes) {
  // The content is copied: what is decoded from a string must not depend on its life.
  auto owner = std::make_shared<const std::string>(bytes);
  class StringStorage final : public Storage {
   public:
    explicit StringStorage(std::shared_ptr<const std::string> s) : text(std::move(s)) {}
    std::shared_ptr<const std::string> text;
  };
  return {std::as_bytes(std::span(owner->data(), owner->size())),
          std::make_shared<StringStorage>(owner), nullptr};
}

}  // namespace

Result<std::unique_ptr<Model>> decode_model(const DecodeSource& source) {
  return Decoder(source).model();
}

Result<NamedTensor> decode_tensor(const DecodeSource& source) {
  return Decoder(source).tensor(source.bytes);
}

Result<Attribute> decode_attribute(const std::string& bytes) {
  const DecodeSource source = source_of(bytes);
  return Decoder(source).attribute(source.bytes, nullptr, 0);
}

Result<ValueType> decode_type(const std::string& bytes) {
  return decode_type(source_of(bytes).bytes, 0);
}

}  // namespace onnxtool
