// Reading a ModelProto field by field: what decode.cc (models and functions), decode_graph.cc,
// decode_attribute.cc, decode_tensor.cc and decode_type.cc share, and nobody else.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "libopt/io/look.h"
#include "libopt/io/wire.h"

namespace onnxtool::decoding {

using wire::Bytes;
using wire::Field;
using wire::Reader;
using wire::WireType;

/// Deeper nesting of subgraphs (or of container types) is refused: recursion must stay bounded.
/// onnx's own messages are parsed per node with protobuf's limit of 100, and a subgraph takes three
/// levels.
inline constexpr int kMaxDepth = 30;

inline Error bad(std::string message) {
  return Error{ErrorCode::kBadModel, std::move(message), {}};
}

/// Calls f(field) for each field of the message; f returns a Status.
template <class F>
Status for_each_field(Bytes message, F&& f) {
  Reader reader(message);
  while (!reader.done()) {
    ONNXTOOL_ASSIGN(const Field field, reader.next());
    ONNXTOOL_TRY(f(field));
  }
  return {};
}

/// A message or string in a field that must hold one.
inline Status expect_bytes(const Field& f, const char* what) {
  if (f.type != WireType::kBytes)
    return bad(std::string("field ") + std::to_string(f.number) + " of " + what +
               " has the wrong wire type");
  return {};
}

inline void keep(std::string& unknown, const Field& f) { unknown.append(wire::text(f.raw)); }

inline Result<std::pair<std::string, std::string>> decode_entry(Bytes message) {
  std::pair<std::string, std::string> entry;
  ONNXTOOL_TRY(for_each_field(message, [&](const Field& f) -> Status {
    if (f.number == 1) entry.first = f.string();
    if (f.number == 2) entry.second = f.string();
    return {};
  }));
  return entry;
}

/// `depth`: how many container types it stands in.
Result<ValueType> decode_type(Bytes message, int depth);

/// What is kept of a TensorProto beside its name and content.
struct TensorRemarks {
  std::string doc, unknown;
  Properties metadata;
};

struct TensorFields;

/// Tensors, whose payloads stay where they are.
class TensorDecoder {
 public:
  TensorDecoder(const DecodeSource& source, ExternalData external)
      : source_(source), external_(external) {}

  Result<NamedTensor> tensor(Bytes message, TensorRemarks* remarks = nullptr);
  Result<SparseTensor> sparse_tensor(Bytes message);
  /// Whether one of them was in a file of its own.
  bool had_external_data() const { return had_external_; }

 private:
  Result<Tensor> tensor_from(const TensorFields& t);
  Result<Tensor> external_tensor(const TensorFields& t, DataType dtype, uint64_t expected);

  const DecodeSource& source_;
  const ExternalData external_;
  bool had_external_ = false;
};

/// A NodeProto whose names nobody looked up yet.
struct NodeFields {
  std::vector<std::string> inputs, outputs;
  std::string name, op_type, domain, overload, doc, unknown;
  Properties metadata;
  std::vector<Bytes> attributes;
};

class Decoder {
 public:
  explicit Decoder(const DecodeSource& source, ExternalData external = ExternalData::kRequired)
      : source_(source), tensors_(source, external) {}

  Result<std::unique_ptr<Model>> model();
  /// owner: the graph that subgraphs stand in; nullptr: there may be none. depth: of its nesting.
  Result<Attribute> attribute(Bytes message, Graph* owner, int depth);

 private:
  static Result<NodeFields> node_fields(Bytes message);
  /// Applies a ValueInfoProto: creates the value where `create`, else only types an existing one.
  Status value_info(Bytes message, Graph& graph, bool create, Value** out);
  static Status define(Graph& graph, const std::string& name, const std::string& place);
  void drop_overridden_constants(std::vector<NodeFields>& nodes);
  /// Second half of reading a graph or function body: values of all nodes first, then their inputs,
  /// so that a file in any order resolves; subgraphs last, when all outer names exist.
  Status nodes_into(std::vector<NodeFields>& nodes, Graph& graph, int depth);
  Status graph_into(Bytes message, Graph& graph, int depth);
  Status function(Bytes message);

  const DecodeSource& source_;
  TensorDecoder tensors_;
  Model* model_ = nullptr;
  bool in_function_ = true;  // where attributes may stand for others
};

}  // namespace onnxtool::decoding
