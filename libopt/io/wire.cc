#include "libopt/io/wire.h"

namespace onnxtool::wire {
namespace {

// Payloads at least this long are written by reference; shorter ones cost less as a copy.
constexpr size_t kReferenceBytes = 1024;

Error malformed(size_t offset, const char* what) {
  return Error{ErrorCode::kBadModel,
               "malformed bytes at offset " + std::to_string(offset) + " of a message: " + what,
               "the file may be truncated, or no ONNX model"};
}

template <class T, class Out>
void append_fixed(Bytes bytes, std::vector<Out>& out) {
  const size_t n = bytes.size() / sizeof(T), start = out.size();
  out.resize(start + n);
  if (n) std::memcpy(out.data() + start, bytes.data(), n * sizeof(T));
}

}  // namespace

bool Reader::varint(Bytes& rest, uint64_t& value) {
  value = 0;
  for (size_t i = 0; i < rest.size() && i < 10; ++i) {
    const auto b = std::to_integer<uint64_t>(rest[i]);
    if (i == 9 && b > 1) return false;
    value |= (b & 0x7f) << (7 * i);
    if (b < 0x80) {
      rest = rest.subspan(i + 1);
      return true;
    }
  }
  return false;
}

Result<Field> Reader::next() {
  const Bytes start = rest_;
  Field f;
  uint64_t tag;
  // A number of up to ten bytes; fewer are left only where the message ends inside of it.
  const auto number = [&](uint64_t& value) {
    if (varint(rest_, value)) return true;
    ran_out_ = rest_.size() < 10;
    return false;
  };
  if (!number(tag)) return malformed(offset_, "bad tag");
  f.number = static_cast<uint32_t>(tag >> 3);
  if (f.number == 0 || tag >> 32) return malformed(offset_, "bad field number");
  const auto fixed = [&](size_t n) {
    ran_out_ = rest_.size() < n;
    if (ran_out_) return false;
    std::memcpy(&f.number_value, rest_.data(), n);
    rest_ = rest_.subspan(n);
    return true;
  };
  switch (tag & 7) {
    case 0:
      f.type = WireType::kVarint;
      if (!number(f.number_value)) return malformed(offset_, "bad number");
      break;
    case 1:
      f.type = WireType::kFixed64;
      if (!fixed(8)) return malformed(offset_, "number is cut off");
      break;
    case 2: {
      f.type = WireType::kBytes;
      uint64_t length;
      if (!number(length)) return malformed(offset_, "bad length");
      ran_out_ = length > rest_.size();
      if (ran_out_)
        return malformed(offset_,
                         ("field " + std::to_string(f.number) + " has " + std::to_string(length) +
                          " bytes, but only " + std::to_string(rest_.size()) + " are left")
                             .c_str());
      f.bytes = rest_.first(length);
      rest_ = rest_.subspan(length);
      break;
    }
    case 5:
      f.type = WireType::kFixed32;
      if (!fixed(4)) return malformed(offset_, "number is cut off");
      break;
    default: return malformed(offset_, "unsupported wire type");
  }
  f.raw = start.first(start.size() - rest_.size());
  offset_ += f.raw.size();
  return f;
}

Status append_ints(const Field& field, std::vector<int64_t>& out) {
  if (field.type == WireType::kVarint) {
    out.push_back(field.int64());
    return {};
  }
  if (field.type != WireType::kBytes) return malformed(0, "expected integers");
  Bytes rest = field.bytes;
  while (!rest.empty()) {
    uint64_t v;
    if (!Reader::varint(rest, v))
      return malformed(field.bytes.size() - rest.size(), "bad packed integer");
    out.push_back(static_cast<int64_t>(v));
  }
  return {};
}

Status append_floats(const Field& field, std::vector<float>& out) {
  if (field.type == WireType::kFixed32) {
    out.push_back(field.float32());
    return {};
  }
  if (field.type != WireType::kBytes || field.bytes.size() % 4)
    return malformed(0, "expected packed floats");
  append_fixed<float>(field.bytes, out);
  return {};
}

Status append_doubles(const Field& field, std::vector<double>& out) {
  if (field.type == WireType::kFixed64) {
    out.push_back(std::bit_cast<double>(field.number_value));
    return {};
  }
  if (field.type != WireType::kBytes || field.bytes.size() % 8)
    return malformed(0, "expected packed doubles");
  append_fixed<double>(field.bytes, out);
  return {};
}

std::string& Rope::tail() {
  if (pieces_.empty() || pieces_.back().owner || !pieces_.back().reference.empty())
    pieces_.emplace_back();
  return pieces_.back().own;
}

void Rope::append(std::string_view s) {
  tail().append(s);
  size_ += s.size();
}

void Rope::append_payload(const Tensor& tensor) {
  const Bytes b = tensor.bytes();
  if (b.size() < kReferenceBytes) return append(text(b));
  pieces_.push_back({{}, b, tensor.owner()});
  size_ += b.size();
}

void Rope::append(Rope&& other) {
  for (Piece& p : other.pieces_) {
    if (p.owner || !p.reference.empty()) {
      size_ += p.reference.size();
      pieces_.push_back(std::move(p));
    } else {
      append(p.own);
    }
  }
}

std::string Rope::flatten() const {
  std::string out;
  out.reserve(size_);
  for (const Piece& p : pieces_) out.append(text(p.bytes()));
  return out;
}

void Rope::varint(uint64_t v) {
  char buffer[10];
  size_t n = 0;
  for (; v >= 0x80; v >>= 7) buffer[n++] = static_cast<char>(v | 0x80);
  buffer[n++] = static_cast<char>(v);
  append({buffer, n});
}

void Rope::float_field(uint32_t number, float v) {
  tag(number, WireType::kFixed32);
  append({reinterpret_cast<const char*>(&v), sizeof v});
}

void Rope::string_field(uint32_t number, std::string_view v) {
  tag(number, WireType::kBytes);
  varint(v.size());
  append(v);
}

void Rope::message_field(uint32_t number, Rope&& message) {
  tag(number, WireType::kBytes);
  varint(message.size());
  append(std::move(message));
}

void Rope::packed_ints(uint32_t number, std::span<const int64_t> v) {
  if (v.empty()) return;
  Rope content;
  for (int64_t i : v) content.varint(static_cast<uint64_t>(i));
  message_field(number, std::move(content));
}

void Rope::packed_floats(uint32_t number, std::span<const float> v) {
  if (v.empty()) return;
  string_field(number, {reinterpret_cast<const char*>(v.data()), v.size_bytes()});
}

}  // namespace onnxtool::wire
