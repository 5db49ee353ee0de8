#include "libopt/ort/read_parts.h"

#include <algorithm>
#include <cstring>

#include "libopt/ir/sparse.h"
#include "libopt/support/checked.h"

namespace onnxtool::ort_reading {
namespace {

// Numbers that TensorProto knows, beyond the format's own enumeration: 1.22 and others write them.
Result<DataType> element_type(fb::TensorDataType number, const std::string& at) {
  const auto type = static_cast<DataType>(number);
  if (info(type).name == info(DataType::kUndefined).name)
    return bad(at + ": element type " + std::to_string(static_cast<int32_t>(number)) +
               " is none of ONNX");
  return type;
}

Result<Dim> read_dim(Context& context, const fb::Dimension* dim, const std::string& at) {
  Dim out;
  if (!dim) return bad(at + ": a dimension is null");
  ONNXTOOL_ASSIGN(out.denotation, text(context, dim->denotation()));
  if (!dim->value()) return out;
  switch (dim->value()->dim_type()) {
    case fb::DimensionValueType::UNKNOWN: break;
    case fb::DimensionValueType::VALUE:
      // As in a .onnx file: a negative extent stands for an unknown one.
      if (dim->value()->dim_value() >= 0) out.value = dim->value()->dim_value();
      break;
    case fb::DimensionValueType::PARAM: {
      if (!dim->value()->dim_param()) return bad(at + ": a named dimension has no name");
      ONNXTOOL_ASSIGN(out.symbol, text(context, dim->value()->dim_param()));
      break;
    }
    default:
      return bad(at + ": a dimension is of kind " +
                 std::to_string(static_cast<int>(dim->value()->dim_type())));
  }
  return out;
}

Result<ValueType> read_tensor_type(Context& context, const fb::TensorTypeAndShape& type,
                                   const std::string& at) {
  ValueType out;
  out.kind = ValueType::Kind::kTensor;
  ONNXTOOL_ASSIGN(out.dtype, element_type(type.elem_type(), at));
  if (!type.shape()) return out;
  out.shape.emplace();
  if (!type.shape()->dim()) return out;
  ONNXTOOL_TRY(context.budget.spend(uint64_t{type.shape()->dim()->size()} * sizeof(Dim)));
  for (const fb::Dimension* d : *type.shape()->dim()) {
    ONNXTOOL_ASSIGN(Dim dim, read_dim(context, d, at));
    out.shape->push_back(std::move(dim));
  }
  return out;
}

}  // namespace

Status Budget::spend(uint64_t bytes) {
  if (bytes > left_)
    return bad(
        "tables share so much of each other that the model is many times larger than the file");
  left_ -= bytes;
  return {};
}

Result<std::string> text(Context& context, const flatbuffers::String* s) {
  if (!s) return std::string();
  ONNXTOOL_TRY(context.budget.spend(s->size()));
  return s->str();
}

Result<std::vector<std::string>> strings(
    Context& context, const flatbuffers::Vector<flatbuffers::Offset<flatbuffers::String>>* vector,
    const std::string& what) {
  if (!vector) return bad(what + " is absent");
  ONNXTOOL_TRY(context.budget.spend(uint64_t{vector->size()} * sizeof(std::string)));
  std::vector<std::string> out;
  for (const flatbuffers::String* s : *vector) {
    ONNXTOOL_ASSIGN(std::string copy, text(context, s));
    out.push_back(std::move(copy));
  }
  return out;
}

Result<ValueType> read_type(Context& context, const fb::TypeInfo* type, const std::string& at) {
  if (!type || !type->value()) return bad(at + ": the type is absent");
  ValueType out;
  switch (type->value_type()) {
    case fb::TypeInfoValue::tensor_type: {
      ONNXTOOL_ASSIGN(out, read_tensor_type(context, *type->value_as_tensor_type(), at));
      break;
    }
    case fb::TypeInfoValue::sequence_type: {
      out.kind = ValueType::Kind::kSequence;
      ONNXTOOL_ASSIGN(ValueType element,
                      read_type(context, type->value_as_sequence_type()->elem_type(), at));
      out.element = std::make_shared<const ValueType>(std::move(element));
      break;
    }
    case fb::TypeInfoValue::map_type: {
      const fb::MapType& map = *type->value_as_map_type();
      out.kind = ValueType::Kind::kMap;
      ONNXTOOL_ASSIGN(out.dtype, element_type(map.key_type(), at));
      ONNXTOOL_ASSIGN(ValueType element, read_type(context, map.value_type(), at));
      out.element = std::make_shared<const ValueType>(std::move(element));
      break;
    }
    default:
      return bad(at + ": the type is of kind " +
                 std::to_string(static_cast<int>(type->value_type())));
  }
  ONNXTOOL_ASSIGN(out.denotation, text(context, type->denotation()));
  return out;
}

Result<NamedTensor> read_tensor(Context& context, const fb::Tensor* tensor, const std::string& at) {
  if (!tensor) return bad(at + ": a tensor is null");
  NamedTensor out;
  ONNXTOOL_ASSIGN(out.name, text(context, tensor->name()));
  const std::string place = at + ": tensor '" + out.name + "'";
  ONNXTOOL_ASSIGN(const DataType dtype, element_type(tensor->data_type(), place));
  ONNXTOOL_ASSIGN(std::vector<int64_t> dims,
                  copied<int64_t>(context, tensor->dims(), place + ": dims"));
  const auto count = checked_product(dims);
  if (!count) return bad(place + ": dims " + format_dims(dims) + " are negative or too large");
  if (tensor->external_data_offset() >= 0)
    return bad(place + ": the data lies in another file, as in a training checkpoint");
  if (dtype == DataType::kString) {
    ONNXTOOL_ASSIGN(std::vector<std::string> elements,
                    strings(context, tensor->string_data(), place + ": string_data"));
    if (elements.size() != static_cast<size_t>(*count))
      return bad(place + ": has " + std::to_string(elements.size()) + " strings, but dims " +
                 format_dims(dims));
    out.tensor = Tensor::from_strings(std::move(dims), std::move(elements));
    return out;
  }
  if (!tensor->raw_data()) return bad(place + ": raw_data is absent");
  const auto bits = checked_mul(*count, bits_of(dtype));
  const uint64_t found = tensor->raw_data()->size();
  if (!bits || size_bytes_of(dtype, static_cast<uint64_t>(*count)) != found)
    return bad(place + ": has " + std::to_string(found) + " bytes, but type " +
               std::string(name(dtype)) + " and dims " + format_dims(dims));
  const auto* data = reinterpret_cast<const std::byte*>(tensor->raw_data()->data());
  out.tensor = Tensor(dtype, std::move(dims), {data, static_cast<size_t>(found)}, context.owner);
  return out;
}

Result<NamedTensor> read_sparse_tensor(Context& context, const fb::SparseTensor* sparse,
                                       const std::string& at) {
  if (!sparse) return bad(at + ": a sparse tensor is null");
  SparseTensor parts;
  ONNXTOOL_ASSIGN(parts.values, read_tensor(context, sparse->values(), at));
  ONNXTOOL_ASSIGN(parts.indices, read_tensor(context, sparse->indices(), at));
  ONNXTOOL_ASSIGN(parts.dims,
                  copied<int64_t>(context, sparse->dims(),
                                  at + ": the dims of sparse tensor '" + parts.values.name + "'"));
  const auto count = checked_product(parts.dims);
  if (!count || !checked_mul(*count, 16))
    return bad(at + ": sparse tensor '" + parts.values.name + "': dims " + format_dims(parts.dims) +
               " are negative or too large");
  ONNXTOOL_TRY(context.budget.spend(
      size_bytes_of(parts.values.tensor.dtype(), static_cast<uint64_t>(*count))));
  auto dense = densify(parts);
  if (!dense.ok()) return std::move(dense).error().at(at);
  return NamedTensor{parts.values.name, *std::move(dense)};
}

}  // namespace onnxtool::ort_reading
