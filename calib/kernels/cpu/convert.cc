// Element conversion in blocks. Block functions are chosen once per block, so that loops see types.

#include "calib/kernels/cpu/convert.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "calib/kernels/cpu/vector_math.h"

namespace onnxtool {
namespace {

// A small float: one sign bit (unless e8m0), then exponent, then mantissa.
struct SmallFloat {
  int mantissa_bits;
  int bias;
  int max_code;  // of the largest finite magnitude
  int inf_code;  // what overflows; equals nan_code where the format has no infinity
  int nan_code;
  bool finite;         // no NaN and no infinity
  bool unsigned_zero;  // FNUZ: 0x80 is NaN, there is no -0
};

// The "float8" and "float4" pages of the ONNX specification; FNUZ: Noune et al. 2022, E4M3FN and
// E5M2: Micikevicius et al. 2022.
constexpr SmallFloat small_float(DataType type) {
  switch (type) {
    case DataType::kFloat8E4M3FN: return {3, 7, 0x7e, 0x7f, 0x7f, false, false};
    case DataType::kFloat8E4M3FNUZ: return {3, 8, 0x7f, 0x80, 0x80, false, true};
    case DataType::kFloat8E5M2: return {2, 15, 0x7b, 0x7c, 0x7e, false, false};
    case DataType::kFloat8E5M2FNUZ: return {2, 16, 0x7f, 0x80, 0x80, false, true};
    default: return {1, 1, 0x07, 0x07, 0x07, true, false};  // float4e2m1
  }
}

constexpr int sign_bit(const SmallFloat& f) { return f.finite ? 0x08 : 0x80; }

float decode(const SmallFloat& f, int bits) {
  const int sign = bits & sign_bit(f);
  const int code = bits & (sign_bit(f) - 1);
  if (f.unsigned_zero && bits == 0x80) return std::bit_cast<float>(0x7fc00000u);
  if (!f.finite && code > f.max_code) {
    const float special = code == f.inf_code && f.inf_code != f.nan_code
                              ? std::bit_cast<float>(0x7f800000u)
                              : std::bit_cast<float>(0x7fc00000u);
    return sign ? -special : special;
  }
  const int exponent = code >> f.mantissa_bits, mantissa = code & ((1 << f.mantissa_bits) - 1);
  const int implicit = exponent > 0 ? 1 << f.mantissa_bits : 0;
  const float value = std::ldexp(static_cast<float>(implicit + mantissa),
                                 std::max(exponent, 1) - f.bias - f.mantissa_bits);
  return sign ? -value : value;
}

using DecodeTable = std::array<float, 256>;

DecodeTable make_table(DataType type) {
  DecodeTable table;
  for (int i = 0; i < 256; ++i) {
    if (type == DataType::kFloat8E8M0)
      table[static_cast<size_t>(i)] =
          i == 255 ? std::bit_cast<float>(0x7fc00000u) : std::ldexp(1.0f, i - 127);
    else
      table[static_cast<size_t>(i)] =
          decode(small_float(type), type == DataType::kFloat4E2M1 ? i & 15 : i);
  }
  return table;
}

const DecodeTable& decode_table(DataType type) {
  static const std::array<DecodeTable, 6> kTables = {
      make_table(DataType::kFloat8E4M3FN), make_table(DataType::kFloat8E4M3FNUZ),
      make_table(DataType::kFloat8E5M2),   make_table(DataType::kFloat8E5M2FNUZ),
      make_table(DataType::kFloat4E2M1),   make_table(DataType::kFloat8E8M0)};
  switch (type) {
    case DataType::kFloat8E4M3FN: return kTables[0];
    case DataType::kFloat8E4M3FNUZ: return kTables[1];
    case DataType::kFloat8E5M2: return kTables[2];
    case DataType::kFloat8E5M2FNUZ: return kTables[3];
    case DataType::kFloat4E2M1: return kTables[4];
    default: return kTables[5];
  }
}

// The element of `bits` (4 or 2) at an index, not sign-extended; low bits come first.
unsigned packed_get(const uint8_t* bytes, int bits, int64_t i) {
  const int64_t bit = i * bits;
  return (bytes[bit >> 3] >> (bit & 7)) & ((1u << bits) - 1);
}
void packed_set(uint8_t* bytes, int bits, int64_t i, unsigned value) {
  const int64_t bit = i * bits;
  const unsigned mask = ((1u << bits) - 1) << (bit & 7);
  uint8_t& byte = bytes[bit >> 3];
  byte = static_cast<uint8_t>((byte & ~mask) | ((value << (bit & 7)) & mask));
}

int sign_extend(unsigned value, int bits) {
  const unsigned sign = 1u << (bits - 1);
  return static_cast<int>(value ^ sign) - static_cast<int>(sign);
}

template <class T, class W>
void load_plain(const void* data, int64_t offset, int64_t n, W* out) {
  const T* in = static_cast<const T*>(data) + offset;
  for (int64_t i = 0; i < n; ++i) out[i] = static_cast<W>(in[i]);
}
template <class T, class W>
void store_plain(const W* in, int64_t n, void* data, int64_t offset) {
  T* out = static_cast<T*>(data) + offset;
  for (int64_t i = 0; i < n; ++i) out[i] = static_cast<T>(in[i]);
}

}  // namespace

float decode_small_float(DataType type, uint8_t bits) { return decode_table(type)[bits]; }

uint8_t encode_small_float(DataType type, float value, bool saturate) {
  if (type == DataType::kFloat8E8M0) return encode_e8m0(value, saturate, "up");
  const SmallFloat f = small_float(type);
  const uint32_t x = std::bit_cast<uint32_t>(value);
  const int sign = (x >> 31) != 0 ? sign_bit(f) : 0;
  const uint32_t magnitude = x & 0x7fffffffu;
  // float4 has no NaN; onnx's reference makes it -0.
  if (magnitude > 0x7f800000u)
    return static_cast<uint8_t>(f.finite          ? sign_bit(f)
                                : f.unsigned_zero ? f.nan_code
                                                  : f.nan_code | sign);
  int code = f.max_code + 1;
  if (magnitude < 0x7f800000u) {
    // Round to a multiple of the last place's weight; its number is the code, less the exponents
    // below, because the implicit bit carries into the exponent field.
    const float m = std::bit_cast<float>(magnitude);
    const int min_exponent = 1 - f.bias;
    const int exponent = magnitude == 0 ? min_exponent : std::max(std::ilogb(m), min_exponent);
    const int steps = static_cast<int>(
        std::nearbyint(std::ldexp(static_cast<double>(m), f.mantissa_bits - exponent)));
    code = std::min(exponent - min_exponent, 256) * (1 << f.mantissa_bits) + steps;
  }
  if (code > f.max_code) code = saturate || f.finite ? f.max_code : f.inf_code;
  if (f.unsigned_zero && (code == 0 || code == f.nan_code)) return static_cast<uint8_t>(code);
  return static_cast<uint8_t>(code | sign);
}

uint8_t encode_e8m0(float value, bool saturate, std::string_view round_mode) {
  const uint32_t x = std::bit_cast<uint32_t>(value);
  if ((x & 0x7fffffffu) > 0x7f800000u) return 0xff;
  if ((x & 0x7fffffffu) == 0x7f800000u || (x >> 31) != 0) {  // infinity, or no power of two at all
    if (!saturate && (x & 0x7fffffffu) != 0) return 0xff;
    return (x >> 31) != 0 ? 0 : 0xfe;
  }
  uint32_t exponent = x >> 23, mantissa = x & 0x7fffffu;
  if (exponent == 0) {  // below 2^-126; code 0 is 2^-127
    if (mantissa > 0x400000u &&
        (round_mode == "up" || (round_mode == "nearest" && mantissa >= 0x600000u)))
      return 1;
    return 0;
  }
  if ((round_mode == "up" && mantissa != 0) || (round_mode == "nearest" && mantissa >= 0x400000u))
    ++exponent;
  if (exponent >= 0xff) return saturate ? 0xfe : 0xff;
  return static_cast<uint8_t>(exponent);
}

DataType wide_type(DataType type) {
  switch (type) {
    case DataType::kFloat:
    case DataType::kFloat16:
    case DataType::kBfloat16:
    case DataType::kFloat8E4M3FN:
    case DataType::kFloat8E4M3FNUZ:
    case DataType::kFloat8E5M2:
    case DataType::kFloat8E5M2FNUZ:
    case DataType::kFloat4E2M1:
    case DataType::kFloat8E8M0: return DataType::kFloat;
    case DataType::kUint8:
    case DataType::kInt8:
    case DataType::kUint16:
    case DataType::kInt16:
    case DataType::kInt32:
    case DataType::kBool:
    case DataType::kUint4:
    case DataType::kInt4:
    case DataType::kUint2:
    case DataType::kInt2: return DataType::kInt32;
    case DataType::kUint32:
    case DataType::kInt64: return DataType::kInt64;
    case DataType::kDouble:
    case DataType::kUint64: return type;
    default: return DataType::kUndefined;
  }
}

template <>
void load_wide<float>(DataType type, const void* data, int64_t offset, int64_t n, float* out) {
  switch (type) {
    case DataType::kFloat: return load_plain<float>(data, offset, n, out);
    case DataType::kFloat16:
      return vector_math().widen_half(static_cast<const uint16_t*>(data) + offset, out, n);
    case DataType::kBfloat16: return load_plain<Bfloat16>(data, offset, n, out);
    case DataType::kFloat4E2M1: {
      const DecodeTable& table = decode_table(type);
      for (int64_t i = 0; i < n; ++i)
        out[i] = table[packed_get(static_cast<const uint8_t*>(data), 4, offset + i)];
      return;
    }
    default: {
      const DecodeTable& table = decode_table(type);
      const uint8_t* in = static_cast<const uint8_t*>(data) + offset;
      for (int64_t i = 0; i < n; ++i) out[i] = table[in[i]];
    }
  }
}

template <>
void load_wide<int32_t>(DataType type, const void* data, int64_t offset, int64_t n, int32_t* out) {
  switch (type) {
    case DataType::kUint8: return load_plain<uint8_t>(data, offset, n, out);
    case DataType::kInt8: return load_plain<int8_t>(data, offset, n, out);
    case DataType::kUint16: return load_plain<uint16_t>(data, offset, n, out);
    case DataType::kInt16: return load_plain<int16_t>(data, offset, n, out);
    case DataType::kInt32: return load_plain<int32_t>(data, offset, n, out);
    case DataType::kBool: {
      const uint8_t* in = static_cast<const uint8_t*>(data) + offset;
      for (int64_t i = 0; i < n; ++i) out[i] = in[i] != 0;
      return;
    }
    default: {
      const int bits = bits_of(type);
      const bool is_signed = type == DataType::kInt4 || type == DataType::kInt2;
      for (int64_t i = 0; i < n; ++i) {
        const unsigned value = packed_get(static_cast<const uint8_t*>(data), bits, offset + i);
        out[i] = is_signed ? sign_extend(value, bits) : static_cast<int>(value);
      }
    }
  }
}

template <>
void load_wide<int64_t>(DataType type, const void* data, int64_t offset, int64_t n, int64_t* out) {
  if (type == DataType::kUint32) return load_plain<uint32_t>(data, offset, n, out);
  load_plain<int64_t>(data, offset, n, out);
}
template <>
void load_wide<double>(DataType, const void* data, int64_t offset, int64_t n, double* out) {
  load_plain<double>(data, offset, n, out);
}
template <>
void load_wide<uint64_t>(DataType, const void* data, int64_t offset, int64_t n, uint64_t* out) {
  load_plain<uint64_t>(data, offset, n, out);
}

template <>
void store_wide<float>(DataType type, const float* in, int64_t n, void* data, int64_t offset,
                       bool saturate) {
  switch (type) {
    case DataType::kFloat: return store_plain<float>(in, n, data, offset);
    case DataType::kFloat16:
      return vector_math().narrow_half(in, static_cast<uint16_t*>(data) + offset, n);
    case DataType::kBfloat16: return store_plain<Bfloat16>(in, n, data, offset);
    case DataType::kFloat4E2M1:
      for (int64_t i = 0; i < n; ++i)
        packed_set(static_cast<uint8_t*>(data), 4, offset + i,
                   encode_small_float(type, in[i], saturate));
      return;
    default: {
      uint8_t* out = static_cast<uint8_t*>(data) + offset;
      for (int64_t i = 0; i < n; ++i) out[i] = encode_small_float(type, in[i], saturate);
    }
  }
}

template <>
void store_wide<int32_t>(DataType type, const int32_t* in, int64_t n, void* data, int64_t offset,
                         bool) {
  switch (type) {
    case DataType::kUint8:
    case DataType::kInt8: return store_plain<uint8_t>(in, n, data, offset);
    case DataType::kUint16:
    case DataType::kInt16: return store_plain<uint16_t>(in, n, data, offset);
    case DataType::kInt32: return store_plain<int32_t>(in, n, data, offset);
    case DataType::kBool: {
      uint8_t* out = static_cast<uint8_t*>(data) + offset;
      for (int64_t i = 0; i < n; ++i) out[i] = in[i] != 0;
      return;
    }
    default:
      for (int64_t i = 0; i < n; ++i)
        packed_set(static_cast<uint8_t*>(data), bits_of(type), offset + i,
                   static_cast<unsigned>(in[i]));
  }
}

template <>
void store_wide<int64_t>(DataType type, const int64_t* in, int64_t n, void* data, int64_t offset,
                         bool) {
  if (type == DataType::kUint32) return store_plain<uint32_t>(in, n, data, offset);
  store_plain<int64_t>(in, n, data, offset);
}
template <>
void store_wide<double>(DataType, const double* in, int64_t n, void* data, int64_t offset, bool) {
  store_plain<double>(in, n, data, offset);
}
template <>
void store_wide<uint64_t>(DataType, const uint64_t* in, int64_t n, void* data, int64_t offset,
                          bool) {
  store_plain<uint64_t>(in, n, data, offset);
}

namespace {

template <class From, class To>
void convert_block(DataType from, const void* in, DataType to, void* out, int64_t first, int64_t n,
                   bool saturate) {
  From x[kBlock];
  To y[kBlock];
  load_wide<From>(from, in, first, n, x);
  if (to == DataType::kBool) {
    for (int64_t i = 0; i < n; ++i) y[i] = static_cast<To>(x[i] != From{0});
  } else {
    for (int64_t i = 0; i < n; ++i) y[i] = convert_one<To>(x[i]);
  }
  store_wide<To>(to, y, n, out, first, saturate);
}

using ConvertBlock = void (*)(DataType, const void*, DataType, void*, int64_t, int64_t, bool);

size_t wide_index(DataType type) {
  switch (wide_type(type)) {
    case DataType::kFloat: return 0;
    case DataType::kDouble: return 1;
    case DataType::kInt32: return 2;
    case DataType::kInt64: return 3;
    default: return 4;
  }
}

template <class From>
constexpr std::array<ConvertBlock, 5> kConvertFrom = {
    convert_block<From, float>, convert_block<From, double>, convert_block<From, int32_t>,
    convert_block<From, int64_t>, convert_block<From, uint64_t>};
constexpr const std::array<ConvertBlock, 5>* kConvert[] = {
    &kConvertFrom<float>, &kConvertFrom<double>, &kConvertFrom<int32_t>, &kConvertFrom<int64_t>,
    &kConvertFrom<uint64_t>};

}  // namespace

namespace {

// Integers to float32, as dequantizing by 1 does it in vectors: the same rounding. False: of
// another type.
bool widen_codes(DataType from, const void* in, int64_t first, int64_t n, float* out) {
  static constexpr float kOne = 1;
  static constexpr int32_t kZero = 0;
  static constexpr QuantLine kUnit{&kOne, &kZero, 0};
  const VectorMath& math = vector_math();
  switch (from) {
    case DataType::kUint8:
      math.dequantize_u8(static_cast<const uint8_t*>(in) + first, kUnit, out, n);
      return true;
    case DataType::kInt8:
      math.dequantize_s8(static_cast<const int8_t*>(in) + first, kUnit, out, n);
      return true;
    case DataType::kUint16:
      math.dequantize_u16(static_cast<const uint16_t*>(in) + first, kUnit, out, n);
      return true;
    case DataType::kInt16:
      math.dequantize_s16(static_cast<const int16_t*>(in) + first, kUnit, out, n);
      return true;
    case DataType::kInt32:
      math.dequantize_s32(static_cast<const int32_t*>(in) + first, kUnit, out, n);
      return true;
    default: return false;
  }
}

}  // namespace

void convert_elements(DataType from, const void* in, DataType to, void* out, int64_t first,
                      int64_t n, bool saturate) {
  if (to == DataType::kFloat && widen_codes(from, in, first, n, static_cast<float*>(out) + first))
    return;
  const ConvertBlock run = (*kConvert[wide_index(from)])[wide_index(to)];
  for (int64_t i = 0; i < n; i += kBlock)
    run(from, in, to, out, first + i, std::min(kBlock, n - i), saturate);
}

void pack_elements(DataType type, const uint8_t* bytes, int64_t count, void* packed) {
  auto* out = static_cast<uint8_t*>(packed);
  std::fill_n(out, size_bytes_of(type, static_cast<uint64_t>(count)), uint8_t{0});
  for (int64_t i = 0; i < count; ++i) packed_set(out, bits_of(type), i, bytes[i]);
}

void unpack_elements(DataType type, const void* packed, int64_t count, uint8_t* bytes) {
  for (int64_t i = 0; i < count; ++i)
    bytes[i] =
        static_cast<uint8_t>(packed_get(static_cast<const uint8_t*>(packed), bits_of(type), i));
}

}  // namespace onnxtool
