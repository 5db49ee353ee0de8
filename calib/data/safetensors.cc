#include "calib/data/safetensors.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "libopt/support/checked.h"

namespace onnxtool {
namespace {

using Json = nlohmann::json;

constexpr uint64_t kMaxHeaderBytes = 100'000'000;

uint64_t header_length(std::span<const std::byte> head) {
  uint64_t length = 0;
  std::memcpy(&length, head.data(), sizeof length);
  return length;
}

DataType type_of(const std::string& name) {
  struct Type {
    const char* name;
    DataType dtype;
  };
  constexpr Type kTypes[] = {{"BOOL", DataType::kBool},
                             {"U8", DataType::kUint8},
                             {"I8", DataType::kInt8},
                             {"U16", DataType::kUint16},
                             {"I16", DataType::kInt16},
                             {"U32", DataType::kUint32},
                             {"I32", DataType::kInt32},
                             {"U64", DataType::kUint64},
                             {"I64", DataType::kInt64},
                             {"F16", DataType::kFloat16},
                             {"BF16", DataType::kBfloat16},
                             {"F32", DataType::kFloat},
                             {"F64", DataType::kDouble},
                             {"C64", DataType::kComplex64},
                             {"F8_E4M3", DataType::kFloat8E4M3FN},
                             {"F8_E5M2", DataType::kFloat8E5M2}};
  for (const Type& t : kTypes)
    if (name == t.name) return t.dtype;
  return DataType::kUndefined;
}

bool is_list_of_sizes(const Json& j) {
  return j.is_array() && std::all_of(j.begin(), j.end(), [](const Json& v) {
           return v.is_number_unsigned() && v.get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX);
         });
}

}  // namespace

bool looks_like_safetensors(std::span<const std::byte> head, uint64_t file_size) {
  if (head.size() < 9 || file_size < 8 || head[8] != std::byte{'{'}) return false;
  const uint64_t length = header_length(head);
  return length >= 2 && length <= kMaxHeaderBytes && length <= file_size - 8;
}

Result<std::vector<StoredArray>> open_safetensors(const std::string& path) {
  ONNXTOOL_ASSIGN(std::shared_ptr<const DataFile> file, DataFile::open(path));
  ONNXTOOL_ASSIGN(std::vector<std::byte> head, file->read_head(kSniffBytes));
  if (!looks_like_safetensors(head, file->size())) {
    if (head.size() >= 9 && head[8] == std::byte{'{'})
      return bad_data(path + ": the safetensors header claims " +
                      std::to_string(header_length(head)) + " bytes, the file has " +
                      std::to_string(file->size()) +
                      " and 100000000 is the most a header may have");
    return bad_data(path + ": not a safetensors file: " + describe_start(head));
  }
  const uint64_t length = header_length(head);
  std::string text(static_cast<size_t>(length), '\0');
  ONNXTOOL_TRY(file->read_at(8, std::as_writable_bytes(std::span(text))));
  // Nothing lies deeper than name -> shape -> number: deeper nesting is dropped while parsing.
  const Json header = Json::parse(
      text.begin(), text.end(), [](int depth, Json::parse_event_t, Json&) { return depth <= 3; },
      false);
  if (!header.is_object()) return bad_data(path + ": the safetensors header is no JSON object");

  const uint64_t data_begin = 8 + length, data_size = file->size() - data_begin;
  std::vector<StoredArray> arrays;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    StoredArray array;
    array.name = name;
    array.place = path + ": tensor '" + name + "'";
    const auto bad = [&](const std::string& what) { return bad_data(array.place + ": " + what); };
    if (!entry.is_object() || !entry.contains("dtype") || !entry.contains("shape") ||
        !entry.contains("data_offsets"))
      return bad("its header lacks dtype, shape or data_offsets");
    const Json &dtype = entry["dtype"], &shape = entry["shape"], &offsets = entry["data_offsets"];
    if (!dtype.is_string()) return bad("dtype is no string");
    array.dtype = type_of(dtype.get_ref<const std::string&>());
    if (array.dtype == DataType::kUndefined)
      return bad("dtype is '" + dtype.get<std::string>() + "', which is not supported");
    if (!is_list_of_sizes(shape)) return bad("shape is no list of sizes");
    array.dims = shape.get<std::vector<int64_t>>();
    if (!is_list_of_sizes(offsets) || offsets.size() != 2)
      return bad("data_offsets is no pair of sizes");
    const auto begin = offsets[0].get<uint64_t>(), end = offsets[1].get<uint64_t>();
    if (begin > end || end > data_size)
      return bad("its bytes are " + std::to_string(begin) + " to " + std::to_string(end) + " of " +
                 std::to_string(data_size));
    const auto size = stored_size_bytes(array);
    if (!size || *size != end - begin)
      return bad(std::to_string(end - begin) + " bytes, expected " +
                 (size ? std::to_string(*size) : "more than any file has") + " for " +
                 format_type(array.dtype, array.dims));
    array.bytes = file;
    array.offset = data_begin + begin;
    arrays.push_back(std::move(array));
  }
  if (arrays.empty()) return bad_data(path + ": no tensors");
  std::stable_sort(arrays.begin(), arrays.end(),
                   [](const StoredArray& a, const StoredArray& b) { return a.offset < b.offset; });
  uint64_t at = data_begin;
  // Empty tensors share their offset with what follows and must not hide an overlap.
  for (const StoredArray& a : arrays) {
    const uint64_t size = *stored_size_bytes(a);
    if (size > 0 && a.offset != at)
      return bad_data(a.place + ": its bytes overlap another tensor's or leave a hole before them");
    at += size;
  }
  if (at != file->size())
    return bad_data(path + ": " + std::to_string(file->size() - at) +
                    " bytes at the end belong to no tensor");
  return arrays;
}

}  // namespace onnxtool
