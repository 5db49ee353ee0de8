// Element types. Values equal TensorProto.DataType (onnx.proto), so they are stored unchanged.
// Header-only and free of dependencies: kernel modules include it.
#pragma once

#include <cstdint>
#include <string_view>

namespace onnxtool {

enum class DataType : int32_t {
  kUndefined = 0,
  kFloat = 1,
  kUint8 = 2,
  kInt8 = 3,
  kUint16 = 4,
  kInt16 = 5,
  kInt32 = 6,
  kInt64 = 7,
  kString = 8,
  kBool = 9,
  kFloat16 = 10,
  kDouble = 11,
  kUint32 = 12,
  kUint64 = 13,
  kComplex64 = 14,
  kComplex128 = 15,
  kBfloat16 = 16,
  kFloat8E4M3FN = 17,
  kFloat8E4M3FNUZ = 18,
  kFloat8E5M2 = 19,
  kFloat8E5M2FNUZ = 20,
  kUint4 = 21,
  kInt4 = 22,
  kFloat4E2M1 = 23,
  kFloat8E8M0 = 24,
  kUint2 = 25,
  kInt2 = 26,
};

struct DataTypeInfo {
  std::string_view name;  // as the ONNX text form spells it
  int bits;               // of one element; 0: not of fixed size (string, undefined)
};

/// Undefined for numbers that TensorProto does not define.
constexpr DataTypeInfo info(DataType t) {
  constexpr DataTypeInfo kTable[] = {
      {"undefined", 0},      {"float", 32},     {"uint8", 8},
      {"int8", 8},           {"uint16", 16},    {"int16", 16},
      {"int32", 32},         {"int64", 64},     {"string", 0},
      {"bool", 8},           {"float16", 16},   {"double", 64},
      {"uint32", 32},        {"uint64", 64},    {"complex64", 64},
      {"complex128", 128},   {"bfloat16", 16},  {"float8e4m3fn", 8},
      {"float8e4m3fnuz", 8}, {"float8e5m2", 8}, {"float8e5m2fnuz", 8},
      {"uint4", 4},          {"int4", 4},       {"float4e2m1", 4},
      {"float8e8m0", 8},     {"uint2", 2},      {"int2", 2}};
  const auto i = static_cast<int32_t>(t);
  return i >= 0 && i < static_cast<int32_t>(sizeof kTable / sizeof kTable[0]) ? kTable[i]
                                                                              : kTable[0];
}
constexpr std::string_view name(DataType t) { return info(t).name; }
constexpr int bits_of(DataType t) { return info(t).bits; }
constexpr bool is_float(DataType t) {
  return t == DataType::kFloat || t == DataType::kFloat16 || t == DataType::kDouble ||
         t == DataType::kBfloat16;
}
/// Bytes of `count` packed elements (two 4-bit elements share a byte); not for strings.
constexpr uint64_t size_bytes_of(DataType t, uint64_t count) {
  return bits_of(t) >= 8 ? count * static_cast<uint64_t>(bits_of(t) / 8)
                         : (count * static_cast<uint64_t>(bits_of(t)) + 7) / 8;
}

template <class T>
constexpr DataType dtype_of = DataType::kUndefined;
template <>
inline constexpr DataType dtype_of<float> = DataType::kFloat;
template <>
inline constexpr DataType dtype_of<double> = DataType::kDouble;
template <>
inline constexpr DataType dtype_of<int8_t> = DataType::kInt8;
template <>
inline constexpr DataType dtype_of<uint8_t> = DataType::kUint8;
template <>
inline constexpr DataType dtype_of<int16_t> = DataType::kInt16;
template <>
inline constexpr DataType dtype_of<uint16_t> = DataType::kUint16;
template <>
inline constexpr DataType dtype_of<int32_t> = DataType::kInt32;
template <>
inline constexpr DataType dtype_of<uint32_t> = DataType::kUint32;
template <>
inline constexpr DataType dtype_of<int64_t> = DataType::kInt64;
template <>
inline constexpr DataType dtype_of<uint64_t> = DataType::kUint64;
template <>
inline constexpr DataType dtype_of<bool> = DataType::kBool;

}  // namespace onnxtool
