// What adapters have in common: values they add, and what they ask of types.

#include "libopt/convert/adapter.h"
#include "libopt/support/checked.h"

namespace onnxtool::convert {

std::string hint_for(const Node& node, std::string_view role) {
  const std::string& base = node.has_output(0) ? node.output(0).name() : node.op_type();
  return base + "_" + std::string(role);
}

Value& add_ints(const Node& node, Rewriter& rewriter, const std::vector<int64_t>& values,
                std::string_view role) {
  return rewriter.add_constant(Tensor::vector(values), hint_for(node, role));
}

Value& add_typed(const Node& node, Rewriter& rewriter, std::string_view op_type,
                 const std::vector<Value*>& inputs, std::vector<Attribute> attributes,
                 std::string_view role) {
  Node& added = rewriter.add_node(op_type, inputs, std::move(attributes), 1, hint_for(node, role));
  rewriter.infer_types(added);
  return added.output(0);
}

void ints_to_input(const Node& node, Rewriter& rewriter, std::string_view attribute, int index,
                   bool optional) {
  const Attribute* a = node.attribute(attribute);
  if (!a) return;
  if (const auto* values = a->get<std::vector<int64_t>>(); values && !(optional && values->empty()))
    rewriter.set_input(node, index, &add_ints(node, rewriter, *values, attribute));
  rewriter.remove_attribute(node, attribute);
}

Tensor float_scalar(DataType dtype, double value) {
  switch (dtype) {
    case DataType::kDouble: return Tensor::scalar(value);
    case DataType::kFloat16: return Tensor::scalar(Half(value));
    case DataType::kBfloat16: return Tensor::scalar(Bfloat16(value));
    default:
      ONNXTOOL_CHECK(dtype == DataType::kFloat);
      return Tensor::scalar(static_cast<float>(value));
  }
}

DataType element_type(const Node& node) {
  for (const Value* v : {node.has_input(0) ? &node.input(0) : nullptr,
                         node.has_output(0) ? &node.output(0) : nullptr})
    if (v && v->type().is_tensor() && v->type().dtype != DataType::kUndefined)
      return v->type().dtype;
  return DataType::kUndefined;
}

int64_t known_count(const Value& value) {
  const auto dims = value.type().static_dims();
  const auto count = dims ? checked_product(*dims) : std::nullopt;
  return count ? *count : -1;
}

}  // namespace onnxtool::convert
