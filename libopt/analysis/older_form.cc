#include "libopt/analysis/older_form.h"

#include <algorithm>
#include <climits>

#include "libopt/analysis/seam_internal.h"
#include "libopt/io/encode.h"

namespace onnxtool {
namespace {

using Formals = std::vector<onnx::OpSchema::FormalParameter>;

std::string bytes_of(const Attribute& attribute) {
  onnx::AttributeProto proto;
  const bool parsed = proto.ParseFromString(encode_attribute(attribute).flatten());
  ONNXTOOL_CHECK(parsed);
  proto.clear_doc_string();
  return proto.SerializeAsString();
}

bool is_default(const Attribute& attribute, const onnx::OpSchema& schema) {
  const auto it = schema.attributes().find(attribute.name);
  return it != schema.attributes().end() && attribute.ref.empty() &&
         it->second.default_value.type() != onnx::AttributeProto::UNDEFINED &&
         bytes_of(attribute) == it->second.default_value.SerializeAsString();
}

bool is_complete(const ValueType& type) {
  switch (type.kind) {
    case ValueType::Kind::kTensor:
    case ValueType::Kind::kSparseTensor: return type.dtype != DataType::kUndefined;
    case ValueType::Kind::kSequence:
    case ValueType::Kind::kOptional: return type.element && is_complete(*type.element);
    default: return false;
  }
}

std::string unfit_type(const Formals& formals, const std::vector<Value*>& values,
                       const char* what) {
  for (size_t i = 0; i < values.size() && !formals.empty(); ++i) {
    if (!values[i] || !is_complete(values[i]->type())) continue;
    const auto& types = formals[std::min(i, formals.size() - 1)].GetTypes();
    onnx::TypeProto proto;
    seam::to_proto(values[i]->type(), proto);
    if (!types.contains(onnx::Utils::DataTypeUtils::ToType(proto)))
      return std::string(what) + " '" + values[i]->name() + "' is " +
             format_type(values[i]->type()) + ", which it does not take";
  }
  return {};
}

std::string unfit_count(const Node& node, const onnx::OpSchema& schema) {
  int inputs = 0, outputs = 0;
  for (int i = 0; i < node.num_inputs(); ++i)
    if (node.has_input(i)) inputs = i + 1;
  for (int i = 0; i < node.num_outputs(); ++i)
    if (node.has_output(i)) outputs = i + 1;
  if (inputs > schema.max_input()) return "it takes no input " + std::to_string(inputs - 1);
  if (inputs < schema.min_input())
    return "it needs " + std::to_string(schema.min_input()) + " inputs";
  if (outputs > schema.max_output()) return "it has no output " + std::to_string(outputs - 1);
  return {};
}

}  // namespace

bool is_new(const Node& node, int version) {
  return !seam::standard_schema(node.op_type(), node.domain(), version - 1);
}

OlderForm older_form(const Node& node, int from, int to) {
  OlderForm form;
  const auto* newer = seam::standard_schema(node.op_type(), node.domain(), from);
  const auto* older = seam::standard_schema(node.op_type(), node.domain(), to);
  const std::string where = " in version " + std::to_string(to);
  if (!older || older->Deprecated()) {
    form.obstacle = node.op_type() + " is new in version " +
                    std::to_string(newer ? newer->SinceVersion() : from);
    return form;
  }
  for (const Attribute& a : node.attributes()) {
    if (older->attributes().contains(a.name)) continue;
    if (newer && is_default(a, *newer))
      form.redundant.push_back(a.name);
    else if (form.obstacle.empty())
      form.obstacle = "it has no attribute " + a.name + where;
  }
  if (!form.obstacle.empty()) return form;
  form.obstacle = unfit_count(node, *older);
  if (form.obstacle.empty()) form.obstacle = unfit_type(older->inputs(), node.inputs(), "input");
  if (form.obstacle.empty()) form.obstacle = unfit_type(older->outputs(), node.outputs(), "output");
  if (!form.obstacle.empty()) form.obstacle += where;
  return form;
}

}  // namespace onnxtool
