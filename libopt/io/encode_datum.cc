#include "libopt/io/encode_datum.h"

#include "libopt/io/encode.h"

namespace onnxtool {
namespace {

using wire::Rope;

// SequenceProto and OptionalProto name what they hold, and hold it in a field by kind.
struct Form {
  int elem_type;
  uint32_t field;
};

Form form_of(const Datum& value) {
  switch (value.kind()) {
    case Datum::Kind::kSequence: return {3, 5};
    case Datum::Kind::kMap: return {4, 6};
    case Datum::Kind::kNone: return {5, 7};
    default: return {1, 3};
  }
}

Rope plain(const std::string& name, const Datum& value);

Rope sequence(const std::string& name, std::span<const Datum> items) {
  Rope out;
  out.optional_string(1, name);
  out.int_field(2, items.empty() ? 0 : form_of(items[0]).elem_type);
  for (const Datum& item : items) out.message_field(form_of(item).field, plain("", item));
  return out;
}

// Values are scalars, as onnx's own writer has them.
Rope map(const std::string& name, const Datum& value) {
  Rope out;
  out.optional_string(1, name);
  const Tensor &keys = value.keys(), &values = value.values();
  out.int_field(2, static_cast<int32_t>(keys.dtype()));
  if (keys.dtype() == DataType::kString)
    for (const std::string& key : keys.strings()) out.string_field(4, key);
  else
    out.packed_ints(3, keys.to_ints());
  std::vector<Datum> scalars;
  const size_t unit = bits_of(values.dtype()) / 8;
  for (size_t i = 0; i < static_cast<size_t>(values.count()); ++i)
    scalars.push_back(
        values.dtype() == DataType::kString
            ? Tensor::from_strings({}, {values.strings()[i]})
            : Tensor(values.dtype(), {}, values.bytes().subspan(i * unit, unit), values.owner()));
  out.message_field(5, sequence("", scalars));
  return out;
}

Rope plain(const std::string& name, const Datum& value) {
  switch (value.kind()) {
    case Datum::Kind::kSequence: return sequence(name, value.items());
    case Datum::Kind::kMap: return map(name, value);
    case Datum::Kind::kNone: return {};
    default: return encode_tensor(name, value.tensor());
  }
}

}  // namespace

Rope encode_datum(const std::string& name, const Datum& value, const ValueType& type) {
  if (type.kind != ValueType::Kind::kOptional && !value.is_none()) return plain(name, value);
  Rope out;
  out.optional_string(1, name);
  out.int_field(2, value.is_none() ? 0 : form_of(value).elem_type);
  if (!value.is_none()) out.message_field(form_of(value).field, plain("", value));
  return out;
}

}  // namespace onnxtool
