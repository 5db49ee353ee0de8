// Protocol Buffers' wire format, read in place and written as a rope.
//
// Readers never copy: strings and payloads are spans of the input (a mapped file). Writers keep
// payloads by reference, so a model of any size is written without being assembled in memory.
// Source: protobuf.dev, "Encoding".
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libopt/ir/tensor.h"
#include "libopt/support/status.h"

namespace onnxtool::wire {

using Bytes = std::span<const std::byte>;

inline std::string_view text(Bytes b) {
  return {reinterpret_cast<const char*>(b.data()), b.size()};
}

enum class WireType : uint8_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

/// One field of a message. `raw` spans tag and content, for keeping unknown fields verbatim.
struct Field {
  uint32_t number = 0;
  WireType type = WireType::kVarint;
  uint64_t number_value = 0;  // varint, fixed32 or fixed64
  Bytes bytes;                // kBytes
  Bytes raw;

  std::string string() const { return std::string(text(bytes)); }
  int64_t int64() const { return static_cast<int64_t>(number_value); }
  float float32() const { return std::bit_cast<float>(static_cast<uint32_t>(number_value)); }
};

/// Iterates the fields of one message.
class Reader {
 public:
  explicit Reader(Bytes message) : rest_(message) {}
  bool done() const { return rest_.empty(); }
  /// The next field; an error names the offset within the message.
  Result<Field> next();
  /// After an error: whether the message ended where a field still went on.
  bool ran_out() const { return ran_out_; }
  static bool varint(Bytes& rest, uint64_t& value);

 private:
  Bytes rest_;
  size_t offset_ = 0;
  bool ran_out_ = false;
};

/// Repeated numeric fields may be packed or not; both append.
Status append_ints(const Field& field, std::vector<int64_t>& out);
Status append_floats(const Field& field, std::vector<float>& out);
Status append_doubles(const Field& field, std::vector<double>& out);

/// Bytes to be written: short ones owned, payloads by reference with their owner.
class Rope {
 public:
  struct Piece {
    std::string own;
    Bytes reference;
    std::shared_ptr<const Storage> owner;
    Bytes bytes() const {
      return owner || !reference.empty()
                 ? reference
                 : Bytes(reinterpret_cast<const std::byte*>(own.data()), own.size());
    }
  };
  uint64_t size() const { return size_; }
  const std::vector<Piece>& pieces() const { return pieces_; }
  void append(std::string_view s);
  /// Kept by reference when long.
  void append_payload(const Tensor& tensor);
  void append(Rope&& other);
  std::string flatten() const;

  // Fields.
  void varint(uint64_t v);
  void tag(uint32_t number, WireType type) {
    varint(uint64_t{number} << 3 | static_cast<uint8_t>(type));
  }
  void int_field(uint32_t number, int64_t v) {
    tag(number, WireType::kVarint), varint(static_cast<uint64_t>(v));
  }
  void float_field(uint32_t number, float v);
  void string_field(uint32_t number, std::string_view v);
  /// Written when not empty.
  void optional_string(uint32_t number, std::string_view v) {
    if (!v.empty()) string_field(number, v);
  }
  void message_field(uint32_t number, Rope&& message);
  void packed_ints(uint32_t number, std::span<const int64_t> v);
  void packed_floats(uint32_t number, std::span<const float> v);

 private:
  std::string& tail();
  std::vector<Piece> pieces_;
  uint64_t size_ = 0;
};

}  // namespace onnxtool::wire
