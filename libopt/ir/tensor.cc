#include "libopt/ir/tensor.h"

#include <cmath>

#include "libopt/support/checked.h"

namespace onnxtool {
namespace {

class OwnedBytes final : public Storage {
 public:
  explicit OwnedBytes(std::vector<std::byte> b) : bytes(std::move(b)) {}
  std::vector<std::byte> bytes;
};

int64_t count_of(std::span<const int64_t> dims) {
  const auto n = checked_product(dims);
  ONNXTOOL_CHECK(n.has_value());
  return *n;
}

// Float8 families share one decoder: sign, exponent, mantissa widths and what the top codes mean.
double decode_float8(uint8_t code, int mantissa_bits, int bias, bool fnuz, bool has_infinity) {
  const int exponent_bits = 7 - mantissa_bits;
  const int sign = code >> 7, exponent = (code >> mantissa_bits) & ((1 << exponent_bits) - 1),
            mantissa = code & ((1 << mantissa_bits) - 1);
  if (fnuz && code == 0x80) return std::nan("");
  if (!fnuz && exponent == (1 << exponent_bits) - 1) {
    if (has_infinity) return mantissa ? std::nan("") : (sign ? -INFINITY : INFINITY);
    if (mantissa == (1 << mantissa_bits) - 1) return std::nan("");
  }
  const double m = exponent ? 1.0 + mantissa / double(1 << mantissa_bits)
                            : mantissa / double(1 << mantissa_bits);
  return (sign ? -1 : 1) * std::ldexp(m, (exponent ? exponent : 1) - bias);
}

// Element i of packed data, as double. Int64 and uint64 beyond 2^53 lose bits: to_ints reads those
// itself.
double element(DataType t, const std::byte* p, int64_t i) {
  const auto read = [&]<class T>(T) {
    T v;
    std::memcpy(&v, p + static_cast<size_t>(i) * sizeof(T), sizeof(T));
    return v;
  };
  const auto packed = [&](int bits) {
    return (std::to_integer<int>(p[i * bits / 8]) >> (i * bits % 8)) & ((1 << bits) - 1);
  };
  switch (t) {
    case DataType::kFloat: return read(float{});
    case DataType::kDouble: return read(double{});
    case DataType::kFloat16: return static_cast<float>(read(Half{}));
    case DataType::kBfloat16: return static_cast<float>(read(Bfloat16{}));
    case DataType::kInt8: return read(int8_t{});
    case DataType::kUint8:
    case DataType::kBool: return read(uint8_t{});
    case DataType::kInt16: return read(int16_t{});
    case DataType::kUint16: return read(uint16_t{});
    case DataType::kInt32: return read(int32_t{});
    case DataType::kUint32: return read(uint32_t{});
    case DataType::kInt64: return static_cast<double>(read(int64_t{}));
    case DataType::kUint64: return static_cast<double>(read(uint64_t{}));
    case DataType::kUint4: return packed(4);
    case DataType::kInt4: return packed(4) >= 8 ? packed(4) - 16 : packed(4);
    case DataType::kUint2: return packed(2);
    case DataType::kInt2: return packed(2) >= 2 ? packed(2) - 4 : packed(2);
    case DataType::kFloat4E2M1: {
      constexpr double kValues[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
      return packed(4) >= 8 ? -kValues[packed(4) - 8] : kValues[packed(4)];
    }
    case DataType::kFloat8E4M3FN: return decode_float8(read(uint8_t{}), 3, 7, false, false);
    case DataType::kFloat8E4M3FNUZ: return decode_float8(read(uint8_t{}), 3, 8, true, false);
    case DataType::kFloat8E5M2: return decode_float8(read(uint8_t{}), 2, 15, false, true);
    case DataType::kFloat8E5M2FNUZ: return decode_float8(read(uint8_t{}), 2, 16, true, false);
    case DataType::kFloat8E8M0:
      return read(uint8_t{}) == 255 ? std::nan("") : std::ldexp(1.0, read(uint8_t{}) - 127);
    default: check_failed(__FILE__, __LINE__, "element type has no numeric value");
  }
}

}  // namespace

Tensor::Tensor(DataType dtype, std::vector<int64_t> dims, std::span<const std::byte> bytes,
               std::shared_ptr<const Storage> owner)
    : dtype_(dtype),
      dims_(std::move(dims)),
      count_(count_of(dims_)),
      bytes_(bytes),
      owner_(std::move(owner)) {
  ONNXTOOL_CHECK(bytes_.size() == size_bytes_of(dtype_, static_cast<uint64_t>(count_)));
}

Tensor Tensor::from_bytes(DataType dtype, std::vector<int64_t> dims, std::vector<std::byte> bytes) {
  auto owner = std::make_shared<OwnedBytes>(std::move(bytes));
  const std::span<const std::byte> view = owner->bytes;
  return Tensor(dtype, std::move(dims), view, std::move(owner));
}

Tensor Tensor::from_strings(std::vector<int64_t> dims, std::vector<std::string> strings) {
  Tensor t;
  t.dtype_ = DataType::kString;
  t.dims_ = std::move(dims);
  t.count_ = count_of(t.dims_);
  ONNXTOOL_CHECK(static_cast<size_t>(t.count_) == strings.size());
  t.strings_ = std::make_shared<const std::vector<std::string>>(std::move(strings));
  return t;
}

std::vector<double> Tensor::to_doubles() const {
  std::vector<double> out(static_cast<size_t>(count_));
  for (int64_t i = 0; i < count_; ++i)
    out[static_cast<size_t>(i)] = element(dtype_, bytes_.data(), i);
  return out;
}

std::vector<int64_t> Tensor::to_ints() const {
  if (dtype_ == DataType::kInt64 || dtype_ == DataType::kUint64) return values<int64_t>();
  std::vector<int64_t> out(static_cast<size_t>(count_));
  for (int64_t i = 0; i < count_; ++i) {
    const double v = element(dtype_, bytes_.data(), i);
    out[static_cast<size_t>(i)] = std::abs(v) < 9.2e18 ? static_cast<int64_t>(v) : 0;
  }
  return out;
}

Tensor Tensor::reshaped(std::vector<int64_t> dims) const {
  Tensor t = *this;
  ONNXTOOL_CHECK(count_of(dims) == count_);
  t.dims_ = std::move(dims);
  return t;
}

bool Tensor::same_content(const Tensor& other) const {
  if (dtype_ != other.dtype_ || dims_ != other.dims_) return false;
  if (dtype_ == DataType::kString) return *strings_ == *other.strings_;
  return bytes_.data() == other.bytes_.data() || bytes_.empty() ||
         std::memcmp(bytes_.data(), other.bytes_.data(), bytes_.size()) == 0;
}

}  // namespace onnxtool
