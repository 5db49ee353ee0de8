// Models and their functions: ModelProto and FunctionProto.
#include "libopt/io/decode.h"

#include <limits>

#include "libopt/analysis/order.h"
#include "libopt/io/decoder.h"

namespace onnxtool {
namespace decoding {
namespace {

Result<OpsetImport> decode_opset(Bytes message) {
  OpsetImport o;
  ONNXTOOL_TRY(for_each_field(message, [&](const Field& f) -> Status {
    if (f.number == 1) o.domain = f.string();
    if (f.number == 2) o.version = f.int64();
    return {};
  }));
  // A version below 0 has no operators, and does no harm where there is no node of the domain.
  if (o.version < std::numeric_limits<int>::min() || o.version > std::numeric_limits<int>::max())
    return bad("opset import of '" + o.domain + "' has the impossible version " +
               std::to_string(o.version));
  if (o.domain == "ai.onnx") o.domain.clear();
  return o;
}

// They are looked up one by one, and no model uses more than a handful.
constexpr size_t kMaxOpsets = 1000;

// Of two imports of one domain the last counts, as for ONNX Runtime and onnx's checker.
Status add_opset(std::vector<OpsetImport>& opsets, OpsetImport import) {
  for (OpsetImport& o : opsets)
    if (o.domain == import.domain) {
      o.version = import.version;
      return {};
    }
  if (opsets.size() == kMaxOpsets)
    return bad("more than " + std::to_string(kMaxOpsets) + " domains are imported");
  opsets.push_back(std::move(import));
  return {};
}

}  // namespace

Result<std::unique_ptr<Model>> Decoder::model() {
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
      ONNXTOOL_TRY(add_opset(m->opsets, std::move(o)));
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
  in_function_ = false;
  ONNXTOOL_TRY(graph_into(*graph, m->graph(), 0));
  in_function_ = true;
  for (Bytes f : functions) ONNXTOOL_TRY(function(f));
  m->had_external_data = tensors_.had_external_data();
  model_ = nullptr;
  return m;
}

Status Decoder::function(Bytes message) {
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
        ONNXTOOL_TRY(add_opset(fn.opsets, std::move(o)));
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

}  // namespace decoding

namespace {

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
  return decoding::Decoder(source).model();
}

Result<std::unique_ptr<Model>> decode_model(const DecodeSource& source, ExternalData external) {
  return decoding::Decoder(source, external).model();
}

Result<NamedTensor> decode_tensor(const DecodeSource& source) {
  return decoding::TensorDecoder(source, ExternalData::kNone).tensor(source.bytes);
}

Result<Attribute> decode_attribute(const std::string& bytes) {
  const DecodeSource source = source_of(bytes);
  return decoding::Decoder(source).attribute(source.bytes, nullptr, 0);
}

Result<ValueType> decode_type(const std::string& bytes) {
  return decoding::decode_type(source_of(bytes).bytes, 0);
}

}  // namespace onnxtool
