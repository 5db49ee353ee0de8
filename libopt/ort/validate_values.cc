// Types, tensors and attributes of a .ort file, each by itself. See validate.h.

#include <algorithm>

#include "libopt/ir/dtype.h"
#include "libopt/ir/graph.h"
#include "libopt/ort/aligned.h"
#include "libopt/ort/validate_parts.h"
#include "libopt/support/checked.h"

namespace onnxtool::ort_validation {
namespace {

constexpr size_t kAlignedFrom = 128;  // bytes: smaller payloads are copied at load
constexpr size_t kAlignment = 16;

DataType element(FileFacts& file, fb::TensorDataType type, const std::string& place) {
  const auto dtype = static_cast<DataType>(type);
  if (dtype == DataType::kUndefined || name(dtype) == "undefined")
    file.faults.must(place,
                     "the element type is " + number(static_cast<int>(type)) + ", which is none");
  file.has_floats8 = file.has_floats8 || (type >= fb::TensorDataType::FLOAT8E4M3FN &&
                                          type <= fb::TensorDataType::FLOAT8E5M2FNUZ);
  return dtype;
}

void check_shape(FileFacts& file, const fb::Shape& shape, const std::string& place) {
  if (!shape.dim()) return;
  for (const fb::Dimension* dim : *shape.dim()) {
    const fb::DimensionValue* value = dim->value();
    if (!value) continue;
    if (value->dim_type() == fb::DimensionValueType::PARAM && !value->dim_param())
      file.faults.must(place, "a symbolic extent has no name");
    if (value->dim_type() == fb::DimensionValueType::VALUE && value->dim_value() < 0)
      file.faults.must(place, "an extent is " + number(value->dim_value()));
  }
}

/// Whether the runtime takes dense tensors of the type: 4-bit ones and others are refused
/// since 1.28.
bool is_storable(DataType type) {
  return (type >= DataType::kFloat && type <= DataType::kUint64) ||
         (type >= DataType::kBfloat16 && type <= DataType::kFloat8E5M2FNUZ);
}

void check_payload(FileFacts& file, const fb::Tensor& tensor, DataType dtype, uint64_t count,
                   const std::string& place) {
  if (dtype == DataType::kString) {
    if (!tensor.string_data()) return file.faults.must(place, "string_data is absent");
    if (tensor.string_data()->size() != count)
      file.faults.must(place, "has " + number(tensor.string_data()->size()) +
                                  " strings, expected " + number(static_cast<int64_t>(count)));
    return;
  }
  if (!tensor.raw_data()) return file.faults.must(place, "raw_data is absent");
  const uint64_t expected = size_bytes_of(dtype, count);
  if (tensor.raw_data()->size() != expected)
    return file.faults.must(place, "raw_data has " + number(tensor.raw_data()->size()) +
                                       " bytes, expected " +
                                       number(static_cast<int64_t>(expected)));
  if (expected >= kAlignedFrom &&
      reinterpret_cast<uintptr_t>(tensor.raw_data()->data()) % kAlignment != 0) {
    if (file.misaligned++ == 0) file.first_misaligned = place;
  }
}

const char* absent_payload(const fb::Attribute& a) {
  switch (a.type()) {
    case fb::AttributeType::STRING: return a.s() ? nullptr : "s";
    case fb::AttributeType::TENSOR: return a.t() ? nullptr : "t";
    case fb::AttributeType::GRAPH: return a.g() ? nullptr : "g";
    case fb::AttributeType::FLOATS: return a.floats() ? nullptr : "floats";
    case fb::AttributeType::INTS: return a.ints() ? nullptr : "ints";
    case fb::AttributeType::STRINGS: return a.strings() ? nullptr : "strings";
    case fb::AttributeType::TENSORS: return a.tensors() ? nullptr : "tensors";
    default: return nullptr;
  }
}

void check_attribute(FileFacts& file, const fb::Attribute& a, const std::string& place) {
  const auto kind = static_cast<int>(a.type());
  if (a.type() == fb::AttributeType::UNDEFINED) return file.faults.must(place, "has no type");
  if (kind < 0 || kind >= static_cast<int>(fb::AttributeType::GRAPHS))
    return file.faults.must(place, "is of type " + number(kind) + ", which loaders ignore");
  if (const char* what = absent_payload(a))
    return file.faults.must(place, std::string(what) + " is absent");
  if (a.type() == fb::AttributeType::TENSOR) check_tensor(file, *a.t(), place);
  if (a.type() == fb::AttributeType::TENSORS)
    for (const fb::Tensor* t : *a.tensors()) check_tensor(file, *t, place);
}

}  // namespace

std::string check_type(FileFacts& file, const fb::TypeInfo* type, const std::string& place) {
  if (!type || !type->value()) {
    file.faults.must(place, "the type is absent");
    return {};
  }
  switch (type->value_type()) {
    case fb::TypeInfoValue::tensor_type: {
      const fb::TensorTypeAndShape& tensor = *type->value_as_tensor_type();
      if (tensor.shape()) check_shape(file, *tensor.shape(), place);
      return "tensor(" + number(static_cast<int>(element(file, tensor.elem_type(), place))) + ")";
    }
    case fb::TypeInfoValue::sequence_type:
      return "seq(" + check_type(file, type->value_as_sequence_type()->elem_type(), place) + ")";
    case fb::TypeInfoValue::map_type: {
      const fb::MapType& map = *type->value_as_map_type();
      const std::string key = number(static_cast<int>(element(file, map.key_type(), place)));
      return "map(" + key + "," + check_type(file, map.value_type(), place) + ")";
    }
    default:
      file.faults.must(place, "the type is of kind " +
                                  number(static_cast<int>(type->value_type())) + ", which is none");
      return {};
  }
}

std::string check_tensor(FileFacts& file, const fb::Tensor& tensor, const std::string& place) {
  const DataType dtype = element(file, tensor.data_type(), place);
  const std::string type = "tensor(" + number(static_cast<int>(dtype)) + ")";
  if (tensor.external_data_offset() != -1)
    file.faults.must(place, "the data lies in another file, which only training checkpoints have");
  if (dtype != DataType::kUndefined && name(dtype) != "undefined" && !is_storable(dtype))
    file.faults.must(
        place, "tensors of " + std::string(name(dtype)) + " are refused since onnxruntime 1.28");
  if (!tensor.dims()) {
    file.faults.must(place, "dims is absent");
    return type;
  }
  if (!has_aligned_elements(*tensor.dims())) {
    file.faults.must(place, "dims is not aligned");
    return type;
  }
  if (!file.faults.spend(tensor.dims()->size())) return type;
  const std::vector<int64_t> dims(tensor.dims()->begin(), tensor.dims()->end());
  const auto count = checked_product(dims);
  constexpr int64_t kMostElements = int64_t{1} << 31;  // no file holds more
  if (!count || *count > kMostElements)
    file.faults.must(place, "dims are negative or too large");
  else if (is_storable(dtype))
    check_payload(file, tensor, dtype, static_cast<uint64_t>(*count), place);
  return type;
}

void check_attributes(FileFacts& file, const fb::Node& node, const OrtSchema* schema,
                      const std::string& place) {
  std::unordered_map<std::string_view, fb::AttributeType> found;
  if (node.attributes())
    for (const fb::Attribute* a : *node.attributes()) {
      if (!a->name() || a->name()->size() == 0) {
        file.faults.must(place, "an attribute has no name");
        continue;
      }
      if (!found.emplace(view(a->name()), a->type()).second)
        file.faults.must(place, "attribute " + quoted(view(a->name())) + " stands twice");
      check_attribute(file, *a, place + ": attribute " + quoted(view(a->name())));
    }
  if (!schema || !file.faults.spend(8)) return;
  for (const Attribute& standard : ort_default_attributes(*schema)) {
    const auto at = found.find(standard.name);
    if (at == found.end())
      file.faults.must(place, "attribute " + quoted(standard.name) +
                                  " is absent: minimal builds do not know its default");
    else if (static_cast<int>(at->second) != static_cast<int>(standard.kind))
      file.faults.must(place, "attribute " + quoted(standard.name) + " is of type " +
                                  number(static_cast<int>(at->second)) + ", expected " +
                                  number(static_cast<int>(standard.kind)));
  }
}

}  // namespace onnxtool::ort_validation
