// Tensors and sparse tensors: TensorProto, with its content in one of many fields or in a file.
#include <charconv>
#include <cstring>

#include "libopt/io/decoder.h"
#include "libopt/ir/unread.h"
#include "libopt/support/checked.h"

namespace onnxtool::decoding {

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

namespace {

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

}  // namespace

Result<NamedTensor> TensorDecoder::tensor(Bytes message, TensorRemarks* remarks) {
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

Result<Tensor> TensorDecoder::tensor_from(const TensorFields& t) {
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
      return bad(where() + " has " + std::to_string(t.string_data.size()) + " strings, expected " +
                 std::to_string(*count));
    return Tensor::from_strings(t.dims, t.string_data);
  }
  const uint64_t expected = size_bytes_of(dtype, static_cast<uint64_t>(*count));
  const auto check_size = [&](uint64_t found) -> Status {
    if (found == expected) return {};
    return bad(where() + " has " + std::to_string(found) + " bytes, expected " +
               std::to_string(expected) + " for " + std::string(name(dtype)) + format_dims(t.dims));
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

Result<Tensor> TensorDecoder::external_tensor(const TensorFields& t, DataType dtype,
                                              uint64_t expected) {
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
  const auto unread = [&] { return unread_tensor(dtype, t.dims, expected, location, offset); };
  if (length.value_or(0) && *length != expected)  // 0: as none, as in ONNX Runtime
    return bad("tensor '" + t.name + "': external data length is " + std::to_string(*length) +
               " bytes, expected " + std::to_string(expected));
  if (external_ == ExternalData::kUnread) return unread();
  if (!source_.data_directory && external_ == ExternalData::kWhereThere) return unread();
  if (external_ == ExternalData::kNone)
    return Error{ErrorCode::kBadModel,
                 "tensor '" + t.name + "' is stored in the file '" + location +
                     "', expected its values here",
                 "store the tensor without external data"};
  if (!source_.data_directory)
    return Error{ErrorCode::kBadModel,
                 "tensor '" + t.name + "' is stored in the file '" + location +
                     "', but the model was not read from a directory",
                 "give the model as a file instead of through a pipe"};
  auto opened = source_.data_directory->open(location);
  if (!opened.ok()) {
    Error error = std::move(opened).error();
    const bool missing = error.code == ErrorCode::kNotFound;
    if (missing && external_ == ExternalData::kWhereThere) return unread();
    error.code = ErrorCode::kBadModel;
    return std::move(error).at("tensor '" + t.name + "'");
  }
  const std::shared_ptr<const MappedFile> file = *std::move(opened);
  const uint64_t size = file->bytes().size();
  if (offset > size || expected > size - offset)
    return bad("tensor '" + t.name + "': external data at offset " + std::to_string(offset) +
               " needs " + std::to_string(expected) + " bytes, but '" + location + "' has " +
               std::to_string(size));
  return Tensor(dtype, t.dims, file->bytes().subspan(offset, expected), file);
}

Result<SparseTensor> TensorDecoder::sparse_tensor(Bytes message) {
  SparseTensor s;
  ONNXTOOL_TRY(for_each_field(message, [&](const Field& f) -> Status {
    if (f.number == 3) return wire::append_ints(f, s.dims);
    if (f.number != 1 && f.number != 2) return {};
    ONNXTOOL_ASSIGN((f.number == 1 ? s.values : s.indices), tensor(f.bytes));
    return {};
  }));
  for (const NamedTensor* part : {&s.values, &s.indices}) {
    if (part->tensor.dtype() == DataType::kUndefined)
      return bad("a sparse tensor lacks its values or indices");
    if (unread_data(part->tensor)) return bad("a sparse tensor needs its external data");
  }
  return s;
}

}  // namespace onnxtool::decoding
