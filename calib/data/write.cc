#include "calib/data/write.h"

#include <algorithm>
#include <cctype>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <span>

#include "calib/data/files.h"
#include "calib/data/leaves.h"
#include "libopt/io/encode_datum.h"

namespace onnxtool {
namespace {

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// NumPy's code of a type that it has; empty: it has none.
std::string_view npy_code(DataType t) {
  switch (t) {
    case DataType::kFloat: return "<f4";
    case DataType::kDouble: return "<f8";
    case DataType::kFloat16: return "<f2";
    case DataType::kInt8: return "|i1";
    case DataType::kInt16: return "<i2";
    case DataType::kInt32: return "<i4";
    case DataType::kInt64: return "<i8";
    case DataType::kUint8: return "|u1";
    case DataType::kUint16: return "<u2";
    case DataType::kUint32: return "<u4";
    case DataType::kUint64: return "<u8";
    case DataType::kBool: return "|b1";
    case DataType::kComplex64: return "<c8";
    case DataType::kComplex128: return "<c16";
    default: return {};
  }
}

std::string_view safetensors_code(DataType t) {
  switch (t) {
    case DataType::kFloat: return "F32";
    case DataType::kDouble: return "F64";
    case DataType::kFloat16: return "F16";
    case DataType::kBfloat16: return "BF16";
    case DataType::kInt8: return "I8";
    case DataType::kInt16: return "I16";
    case DataType::kInt32: return "I32";
    case DataType::kInt64: return "I64";
    case DataType::kUint8: return "U8";
    case DataType::kUint16: return "U16";
    case DataType::kUint32: return "U32";
    case DataType::kUint64: return "U64";
    case DataType::kBool: return "BOOL";
    case DataType::kComplex64: return "C64";
    case DataType::kFloat8E4M3FN: return "F8_E4M3";
    case DataType::kFloat8E5M2: return "F8_E5M2";
    default: return {};
  }
}

template <class T>
std::string elements_as(const std::vector<double>& values) {
  std::string out(values.size() * sizeof(T), '\0');
  for (size_t i = 0; i < values.size(); ++i) {
    const T v = static_cast<T>(values[i]);
    std::memcpy(out.data() + i * sizeof(T), &v, sizeof(T));
  }
  return out;
}

// The payload, and the code that says what it is.
Result<std::pair<std::string, std::string>> npy_payload(const Tensor& t) {
  using Pair = std::pair<std::string, std::string>;
  if (t.dtype() == DataType::kString) {
    size_t width = 1;
    for (const std::string& s : t.strings()) {
      width = std::max(width, s.size());
      if (s.ends_with('\0'))
        return Error{ErrorCode::kUnsupported,
                     "a string ends with a zero byte, which .npy cannot hold",
                     "write test_data_set files instead"};
    }
    std::string payload;
    for (const std::string& s : t.strings()) payload += s + std::string(width - s.size(), '\0');
    return Pair("|S" + std::to_string(width), std::move(payload));
  }
  if (const auto code = npy_code(t.dtype()); !code.empty()) return Pair(code, text_of(t.bytes()));
  switch (t.dtype()) {
    case DataType::kInt4:
    case DataType::kInt2: return Pair("|i1", elements_as<int8_t>(t.to_doubles()));
    case DataType::kUint4:
    case DataType::kUint2: return Pair("|u1", elements_as<uint8_t>(t.to_doubles()));
    case DataType::kUndefined:
      return Error{ErrorCode::kUnsupported, "a value without a type cannot be written", {}};
    default: return Pair("<f4", elements_as<float>(t.to_doubles()));
  }
}

}  // namespace

Result<std::string> npy_bytes(const Tensor& t) {
  ONNXTOOL_ASSIGN(const auto payload, npy_payload(t));
  std::string shape;
  for (const int64_t d : t.dims()) shape += std::to_string(d) + ", ";
  if (t.rank() > 1) shape.resize(shape.size() - 2);
  std::string header =
      "{'descr': '" + payload.first + "', 'fortran_order': False, 'shape': (" + shape + "), }";
  if (t.rank() == 1) header.replace(header.find(", )"), 3, ",)");
  // Magic, version and length are ten bytes; the payload starts at a multiple of 64.
  header += std::string(63 - (10 + header.size()) % 64, ' ') + "\n";
  ONNXTOOL_CHECK(header.size() < 65536);
  std::string out = "\x93NUMPY";
  out += {'\x01', '\x00', static_cast<char>(header.size() & 0xff),
          static_cast<char>(header.size() >> 8)};
  return out + header + payload.second;
}

Result<std::string> safetensors_bytes(const std::vector<NamedTensor>& tensors) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  uint64_t at = 0;
  for (const auto& [name, t] : tensors) {
    const auto code = safetensors_code(t.dtype());
    if (code.empty())
      return Error{
          ErrorCode::kUnsupported,
          "'" + name + "': safetensors has no type " + std::string(onnxtool::name(t.dtype())),
          "write test_data_set files instead"};
    header[name] = {
        {"dtype", code}, {"shape", t.dims()}, {"data_offsets", {at, at + t.size_bytes()}}};
    at += t.size_bytes();
  }
  std::string text = header.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  text += std::string((8 - text.size() % 8) % 8, ' ');  // payloads start aligned
  std::string out(8, '\0');
  const uint64_t length = text.size();
  std::memcpy(out.data(), &length, sizeof length);
  out += text;
  for (const NamedTensor& t : tensors) out += text_of(t.tensor.bytes());
  return out;
}

std::string safe_file_name(std::string_view name) {
  constexpr size_t kLongest = 120;
  std::string out;
  for (const char c : name.substr(0, kLongest)) {
    const bool plain =
        std::isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-';
    out += plain ? c : '_';
  }
  if (out.empty() || out[0] == '.') out.insert(0, "_");
  return out;
}

SampleWriter::SampleWriter(const AtomicDirectory& directory, TensorFileFormat format,
                           std::vector<NamedType> outputs, int64_t samples)
    : directory_(directory), format_(format), outputs_(std::move(outputs)) {
  width_ = std::to_string(std::max<int64_t>(samples - 1, 0)).size();
  std::set<std::string> taken;
  for (const NamedType& output : outputs_) {
    const std::string safe = safe_file_name(output.name);
    std::string unique = safe;
    for (int i = 2; !taken.insert(unique).second; ++i) unique = safe + "_" + std::to_string(i);
    directories_.push_back(std::move(unique));
  }
}

std::string SampleWriter::sample_name(int64_t index, const std::string& sample_id) const {
  const std::string number = std::to_string(index), stem = file_stem(sample_id);
  return std::string(width_ - std::min(width_, number.size()), '0') + number + "-" +
         safe_file_name(stem);
}

Status SampleWriter::put(const std::string& name, const std::string& bytes) const {
  return directory_.write(name, std::as_bytes(std::span(bytes)));
}

Status SampleWriter::write(int64_t index, const std::string& sample_id,
                           const std::vector<NamedTensor>& inputs,
                           const std::vector<Datum>& outputs) const {
  ONNXTOOL_CHECK(outputs.size() == outputs_.size());
  const std::string sample = sample_name(index, sample_id);
  if (format_ == TensorFileFormat::kSafetensors) {
    std::vector<NamedTensor> named;
    for (size_t i = 0; i < outputs.size(); ++i)
      for (NamedTensor& t : tensors_of(outputs_[i].name, outputs[i])) named.push_back(std::move(t));
    ONNXTOOL_ASSIGN(const std::string bytes, safetensors_bytes(named));
    return put(sample + ".safetensors", bytes);
  }
  if (format_ == TensorFileFormat::kPb) {
    const std::string set = "test_data_set_" + std::to_string(index);
    const auto one = [&](const std::string& file, const std::string& name, const Datum& value,
                         const ValueType& type) {
      return put(set + "/" + file + ".pb", encode_datum(name, value, type).flatten());
    };
    for (size_t i = 0; i < inputs.size(); ++i)
      ONNXTOOL_TRY(one("input_" + std::to_string(i), inputs[i].name, inputs[i].tensor, {}));
    for (size_t i = 0; i < outputs.size(); ++i)
      ONNXTOOL_TRY(
          one("output_" + std::to_string(i), outputs_[i].name, outputs[i], outputs_[i].type));
    return {};
  }
  for (size_t i = 0; i < outputs.size(); ++i) {
    const std::string place = "output '" + outputs_[i].name + "'";
    if (!outputs[i].is_tensor())
      return Error{ErrorCode::kUnsupported,
                   place + " is a " + outputs[i].kind_name() + ", which .npy cannot hold",
                   "write test_data_set files instead (pb), or safetensors"};
    auto bytes = npy_bytes(outputs[i].tensor());
    if (!bytes.ok()) return std::move(bytes).error().at(place);
    ONNXTOOL_TRY(put(directories_[i] + "/" + sample + ".npy", *bytes));
  }
  return {};
}

}  // namespace onnxtool
