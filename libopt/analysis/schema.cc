// Operator schemas, the per-node checker, and messages from the IR and back.

#include <algorithm>

#include "libopt/analysis/seam.h"
#include "libopt/analysis/seam_internal.h"
#include "libopt/analysis/standard_schemas.h"
#include "libopt/io/encode.h"
#include "onnx/checker.h"

namespace onnxtool {
namespace seam {
namespace {

const ExternalPlace kElsewhere{"elsewhere", 0};

const ExternalPlace* keep_small(const Tensor& tensor) {
  return tensor.size_bytes() > kMaxCopiedBytes ? &kElsewhere : nullptr;
}

template <class T>
void parse(const wire::Rope& bytes, T& message) {
  const bool parsed = message.ParseFromString(bytes.flatten());
  ONNXTOOL_CHECK(parsed);
}

template <class T>
void tensor_to_proto(const ValueType& type, T& proto) {
  proto.set_elem_type(static_cast<int32_t>(type.dtype));
  if (!type.shape) return;
  auto* shape = proto.mutable_shape();
  for (const Dim& d : *type.shape) {
    auto* dim = shape->add_dim();
    if (d.value)
      dim->set_dim_value(*d.value);
    else if (!d.symbol.empty())
      dim->set_dim_param(d.symbol);
  }
}

template <class T>
void tensor_from_proto(const T& proto, ValueType& type, bool negative_extents) {
  type.dtype = static_cast<DataType>(proto.elem_type());
  if (!proto.has_shape()) return;
  type.shape.emplace();
  for (const auto& d : proto.shape().dim()) {
    Dim dim;
    if (d.has_dim_value() && (d.dim_value() >= 0 || negative_extents))
      dim.value = d.dim_value();
    else if (d.has_dim_param())
      dim.symbol = d.dim_param();
    type.shape->push_back(std::move(dim));
  }
}

std::shared_ptr<const ValueType> element_from(const onnx::TypeProto& proto, bool negative_extents) {
  return std::make_shared<const ValueType>(from_proto(proto, negative_extents));
}

}  // namespace

void to_proto(const ValueType& type, onnx::TypeProto& proto) {
  switch (type.kind) {
    case ValueType::Kind::kUnknown: break;
    case ValueType::Kind::kTensor: tensor_to_proto(type, *proto.mutable_tensor_type()); break;
    case ValueType::Kind::kSparseTensor:
      tensor_to_proto(type, *proto.mutable_sparse_tensor_type());
      break;
    case ValueType::Kind::kSequence: {
      auto* sequence = proto.mutable_sequence_type();
      if (type.element) to_proto(*type.element, *sequence->mutable_elem_type());
      break;
    }
    case ValueType::Kind::kOptional: {
      auto* optional = proto.mutable_optional_type();
      if (type.element) to_proto(*type.element, *optional->mutable_elem_type());
      break;
    }
    case ValueType::Kind::kMap: {
      auto* map = proto.mutable_map_type();
      map->set_key_type(static_cast<int32_t>(type.dtype));
      if (type.element) to_proto(*type.element, *map->mutable_value_type());
      break;
    }
    case ValueType::Kind::kOpaque:
      proto.mutable_opaque_type()->set_domain(type.opaque_domain);
      proto.mutable_opaque_type()->set_name(type.opaque_name);
      break;
  }
}

ValueType from_proto(const onnx::TypeProto& proto, bool negative_extents) {
  ValueType type;
  switch (proto.value_case()) {
    case onnx::TypeProto::kTensorType:
      type.kind = ValueType::Kind::kTensor;
      tensor_from_proto(proto.tensor_type(), type, negative_extents);
      break;
    case onnx::TypeProto::kSparseTensorType:
      type.kind = ValueType::Kind::kSparseTensor;
      tensor_from_proto(proto.sparse_tensor_type(), type, negative_extents);
      break;
    case onnx::TypeProto::kSequenceType:
      type.kind = ValueType::Kind::kSequence;
      if (proto.sequence_type().has_elem_type())
        type.element = element_from(proto.sequence_type().elem_type(), negative_extents);
      break;
    case onnx::TypeProto::kOptionalType:
      type.kind = ValueType::Kind::kOptional;
      if (proto.optional_type().has_elem_type())
        type.element = element_from(proto.optional_type().elem_type(), negative_extents);
      break;
    case onnx::TypeProto::kMapType:
      type.kind = ValueType::Kind::kMap;
      type.dtype = static_cast<DataType>(proto.map_type().key_type());
      if (proto.map_type().has_value_type())
        type.element = element_from(proto.map_type().value_type(), negative_extents);
      break;
    case onnx::TypeProto::kOpaqueType:
      type.kind = ValueType::Kind::kOpaque;
      type.opaque_domain = proto.opaque_type().domain();
      type.opaque_name = proto.opaque_type().name();
      break;
    case onnx::TypeProto::VALUE_NOT_SET: break;
  }
  return type;
}

namespace {

// Of the kinds that most attributes have; false: it has another, or carries more than its value.
bool copy_plain(const Attribute& a, onnx::NodeProto& to) {
  if (a.value.index() == 0 || !a.ref.empty() || !a.unknown_fields.empty()) return false;
  onnx::AttributeProto proto;
  if (const auto* i = a.get<int64_t>()) {
    proto.set_i(*i);
  } else if (const auto* f = a.get<float>()) {
    proto.set_f(*f);
  } else if (const auto* s = a.get<std::string>()) {
    proto.set_s(*s);
  } else if (const auto* ints = a.get<std::vector<int64_t>>()) {
    proto.mutable_ints()->Add(ints->begin(), ints->end());
  } else {
    return false;
  }
  proto.set_name(a.name);
  proto.set_type(static_cast<onnx::AttributeProto::AttributeType>(a.kind));
  *to.add_attribute() = std::move(proto);
  return true;
}

// What most nodes are, without the way over bytes, which takes several times as long: inference
// asks for every node's message in every sweep of the passes.
bool copy_plain(const Node& node, onnx::NodeProto& to) {
  if (!node.metadata.empty() || !node.unknown_fields.empty() || !node.overload().empty())
    return false;
  for (const Attribute& a : node.attributes())
    if (!copy_plain(a, to)) return false;
  to.set_op_type(node.op_type());
  if (!node.domain().empty()) to.set_domain(node.domain());
  if (!node.name().empty()) to.set_name(node.name());
  for (const Value* v : node.inputs()) to.add_input(v ? v->name() : std::string());
  for (const Value* v : node.outputs()) to.add_output(v ? v->name() : std::string());
  return true;
}

}  // namespace

onnx::NodeProto node_proto(const Node& node) {
  onnx::NodeProto proto;
  if (copy_plain(node, proto)) return proto;
  proto.Clear();
  parse(encode_node(node, /*with_subgraphs=*/false, keep_small), proto);
  for (const Attribute& a : node.attributes()) {
    if (a.kind != AttributeKind::kGraph && a.kind != AttributeKind::kGraphs) continue;
    auto* stand_in = proto.add_attribute();
    stand_in->set_name(a.name);
    stand_in->set_type(static_cast<onnx::AttributeProto::AttributeType>(a.kind));
    (a.kind == AttributeKind::kGraph ? stand_in->mutable_g() : stand_in->add_graphs())
        ->set_name("subgraph");
  }
  return proto;
}

onnx::TensorProto tensor_proto(const Tensor& tensor) {
  onnx::TensorProto proto;
  parse(encode_tensor({}, tensor), proto);
  return proto;
}

std::string tidy(std::string_view message) {
  constexpr std::string_view kTags[] = {"[TypeInferenceError] ", "[ShapeInferenceError] ",
                                        "[ParseError "};
  for (const std::string_view tag : kTags)
    if (message.starts_with(tag)) message.remove_prefix(tag.size());
  std::string text(message.substr(0, message.find("\n\n==> Context")));
  std::ranges::replace(text, '\n', ' ');
  while (!text.empty() && (text.back() == ' ' || text.back() == '.')) text.pop_back();
  if (text.size() > 1 && text[0] >= 'A' && text[0] <= 'Z' && text[1] >= 'a' && text[1] <= 'z')
    text[0] = static_cast<char>(text[0] - 'A' + 'a');
  return text;
}

}  // namespace seam

namespace {

// The checker opens files that tensors name, and wants data in those that name none: payloads that
// were left out become empty tensors. What their bytes must be was checked when they were decoded.
void drop_external_marks(onnx::NodeProto& node) {
  const auto empty = [](onnx::TensorProto& t) {
    if (t.data_location() != onnx::TensorProto::EXTERNAL) return;
    t.clear_data_location();
    t.clear_external_data();
    t.clear_dims();
    t.add_dims(0);
  };
  auto& attributes = *node.mutable_attribute();
  for (int i = attributes.size() - 1; i >= 0; --i) {
    onnx::AttributeProto& a = attributes[i];
    if (a.has_t()) empty(*a.mutable_t());
    for (auto& t : *a.mutable_tensors()) empty(t);
    if (a.has_sparse_tensor() && (a.sparse_tensor().values().has_data_location() ||
                                  a.sparse_tensor().indices().has_data_location()))
      attributes.DeleteSubrange(i, 1);
  }
}

}  // namespace

std::unique_ptr<OperatorSchema> find_schema(std::string_view op_type, std::string_view domain,
                                            int opset) {
  if (domain == "ai.onnx") domain = "";
  auto out = std::make_unique<OperatorSchema>();
  if (const onnx::OpSchema* s = seam::standard_schema(op_type, domain, opset)) {
    out->since_version = s->SinceVersion();
    out->min_inputs = s->min_input();
    out->max_inputs = s->max_input();
    out->min_outputs = s->min_output();
    out->max_outputs = s->max_output();
    out->deprecated = s->deprecated();
    out->is_function = s->HasFunction() || s->HasContextDependentFunction();
    // onnx calls operators with subgraphs non-deterministic, since it does not look inside; whoever
    // asks looks there.
    const bool has_graph = std::ranges::any_of(s->attributes(), [](const auto& a) {
      return a.second.type == onnx::AttributeProto::GRAPH ||
             a.second.type == onnx::AttributeProto::GRAPHS;
    });
    out->deterministic =
        has_graph || s->GetNodeDeterminism() != onnx::OpSchema::NodeDeterminism::NonDeterministic;
    return out;
  }
  if (const seam::ForeignOperator* f = seam::find_foreign(op_type, domain)) {
    out->since_version = 1;
    out->min_inputs = f->min_inputs;
    out->max_inputs = f->max_inputs;
    out->min_outputs = f->min_outputs;
    out->max_outputs = f->max_outputs;
    return out;
  }
  return nullptr;
}

Status check_node(const Node& node) {
  const Model& model = node.graph().model();
  return seam::guarded(node.describe(), [&] {
    onnx::checker::CheckerContext context;
    context.set_ir_version(static_cast<int>(model.ir_version));
    std::unordered_map<std::string, int> opsets;
    for (const OpsetImport& o : model.opsets) opsets[o.domain] = static_cast<int>(o.version);
    context.set_opset_imports(std::move(opsets));
    context.set_schema_registry(&seam::standard_schemas());
    onnx::NodeProto proto = seam::node_proto(node);
    drop_external_marks(proto);
    // Subgraphs are checked node by node, by whoever walks them; here they only must be there.
    onnx::checker::check_node(proto, context, onnx::checker::LexicalScopeContext());
  });
}

}  // namespace onnxtool
