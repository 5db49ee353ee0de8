#include "libopt/analysis/attribute_defaults.h"

#include "libopt/analysis/seam_internal.h"
#include "libopt/analysis/tensor_text.h"
#include "libopt/io/decode.h"

namespace onnxtool {

bool is_default_attribute(const Node& node, const Attribute& attribute) {
  if (!attribute.ref.empty()) return false;
  const auto* schema = seam::standard_schema(node.op_type(), node.domain(), node.opset());
  if (!schema) return false;
  const auto known = schema->attributes().find(attribute.name);
  if (known == schema->attributes().end() || !known->second.default_value.has_type()) return false;
  const auto value = decode_attribute(known->second.default_value.SerializeAsString());
  return value.ok() && value->kind == attribute.kind &&
         attribute_text(*value) == attribute_text(attribute);
}

}  // namespace onnxtool
