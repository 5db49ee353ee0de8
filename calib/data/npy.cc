#include "calib/data/npy.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>
#include <string_view>

namespace onnxtool {
namespace {

// A header holds one dtype and a few dims; this bound keeps a wrong length from being believed.
constexpr uint64_t kMaxHeaderBytes = 1 << 20;
constexpr size_t kMaxRank = 64;  // NumPy's own bound
// Longest text element; keeps products of width and count far from overflow.
constexpr uint64_t kMaxTextWidth = 1 << 28;

// The header is a Python dict literal: strings, True or False, a tuple of integers. The fields in
// it may come in any order.
struct Header {
  std::string descr;
  bool fortran_order = false;
  std::vector<int64_t> shape;
};

class HeaderParser {
 public:
  explicit HeaderParser(std::string_view text) : rest_(text) {}

  std::optional<Header> parse() {
    Header header;
    bool has_descr = false, has_order = false, has_shape = false;
    if (!eat('{')) return std::nullopt;
    while (!eat('}')) {
      std::string key;
      if (!string(key) || !eat(':')) return std::nullopt;
      if (key == "descr" && !has_descr) {
        has_descr = true;
        if (!description(header.descr)) return std::nullopt;
      } else if (key == "fortran_order" && !has_order) {
        has_order = true;
        header.fortran_order = word("True");
        if (!header.fortran_order && !word("False")) return std::nullopt;
      } else if (key == "shape" && !has_shape) {
        has_shape = true;
        if (!tuple(header.shape)) return std::nullopt;
      } else {
        return std::nullopt;
      }
      if (!eat(',')) {
        if (!eat('}')) return std::nullopt;
        break;
      }
    }
    skip_space();
    if (!rest_.empty() || !has_descr || !has_order || !has_shape) return std::nullopt;
    return header;
  }

 private:
  void skip_space() {
    while (!rest_.empty() &&
           (rest_[0] == ' ' || rest_[0] == '\n' || rest_[0] == '\t' || rest_[0] == '\r'))
      rest_.remove_prefix(1);
  }
  bool eat(char c) {
    skip_space();
    if (rest_.empty() || rest_[0] != c) return false;
    rest_.remove_prefix(1);
    return true;
  }
  bool word(std::string_view w) {
    skip_space();
    if (!rest_.starts_with(w)) return false;
    rest_.remove_prefix(w.size());
    return true;
  }
  bool string(std::string& out) {
    skip_space();
    if (rest_.empty() || (rest_[0] != '\'' && rest_[0] != '"')) return false;
    const size_t end = rest_.find(rest_[0], 1);
    if (end == std::string_view::npos) return false;
    out = rest_.substr(1, end - 1);
    rest_.remove_prefix(end + 1);
    return true;
  }
  // A structured type is a list here; its text up to the matching bracket serves the message.
  bool description(std::string& out) {
    skip_space();
    if (rest_.empty() || rest_[0] != '[') return string(out);
    int depth = 0;
    for (size_t i = 0; i < rest_.size(); ++i) {
      depth += (rest_[i] == '[') - (rest_[i] == ']');
      if (depth != 0) continue;
      out = rest_.substr(0, i + 1);
      rest_.remove_prefix(i + 1);
      return true;
    }
    return false;
  }
  bool tuple(std::vector<int64_t>& out) {
    if (!eat('(')) return false;
    while (!eat(')')) {
      skip_space();
      int64_t v = 0;
      const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), v);
      if (error != std::errc() || v < 0 || out.size() >= kMaxRank) return false;
      rest_.remove_prefix(static_cast<size_t>(end - rest_.data()));
      if (!rest_.empty() && rest_[0] == 'L') rest_.remove_prefix(1);  // written by Python 2
      out.push_back(v);
      if (!eat(',')) return eat(')');
    }
    return true;
  }

  std::string_view rest_;
};

// Sets type, byte order and text form from `<f4` and the like; false: not a type that tensors have.
bool set_type(std::string_view descr, StoredArray& a) {
  if (descr.size() < 3) return false;
  const char order = descr[0], kind = descr[1];
  if (order != '<' && order != '>' && order != '|' && order != '=') return false;
  a.big_endian = order == '>';
  uint64_t size = 0;
  const auto [end, error] = std::from_chars(descr.data() + 2, descr.data() + descr.size(), size);
  if (error != std::errc() || end != descr.data() + descr.size()) return false;
  if (kind == 'S' || kind == 'U') {
    if (size == 0 || size > kMaxTextWidth) return false;
    a.dtype = DataType::kString;
    a.text = kind == 'S' ? TextForm::kBytes : TextForm::kUtf32;
    a.text_width = size;
    a.big_endian = a.big_endian && kind == 'U';
    return true;
  }
  struct Type {
    char kind;
    uint64_t size;
    DataType dtype;
  };
  constexpr Type kTypes[] = {
      {'b', 1, DataType::kBool},      {'i', 1, DataType::kInt8},       {'i', 2, DataType::kInt16},
      {'i', 4, DataType::kInt32},     {'i', 8, DataType::kInt64},      {'u', 1, DataType::kUint8},
      {'u', 2, DataType::kUint16},    {'u', 4, DataType::kUint32},     {'u', 8, DataType::kUint64},
      {'f', 2, DataType::kFloat16},   {'f', 4, DataType::kFloat},      {'f', 8, DataType::kDouble},
      {'c', 8, DataType::kComplex64}, {'c', 16, DataType::kComplex128}};
  for (const Type& t : kTypes)
    if (t.kind == kind && t.size == size) {
      a.dtype = t.dtype;
      return true;
    }
  return false;
}

}  // namespace

Result<StoredArray> read_npy(std::shared_ptr<const ByteSource> bytes, std::string name,
                             std::string place) {
  const uint64_t size = bytes->size();
  std::byte head[12];
  const size_t head_size = static_cast<size_t>(std::min<uint64_t>(size, sizeof head));
  ONNXTOOL_TRY(bytes->read_at(0, std::span(head, head_size)));
  if (head_size < 6 || std::memcmp(head, "\x93NUMPY", 6) != 0)
    return bad_data(place + ": not a .npy array: " + describe_start(std::span(head, head_size)) +
                    ", expected \"\\x93NUMPY\"");
  const auto byte = [&](size_t i) { return std::to_integer<uint64_t>(head[i]); };
  const uint64_t version = head_size > 7 ? byte(6) : 0;
  const size_t prefix = version == 1 ? 10 : 12;
  if (head_size < prefix) return bad_data(place + ": ends within the .npy header");
  if (version < 1 || version > 3)
    return bad_data(place + ": .npy format version " + std::to_string(version) +
                    ", expected 1, 2 or 3");
  uint64_t length = byte(8) | byte(9) << 8;
  if (version > 1) length |= byte(10) << 16 | byte(11) << 24;
  if (length > kMaxHeaderBytes || length > size - prefix)
    return bad_data(place + ": the .npy header claims " + std::to_string(length) +
                    " bytes, the file has " + std::to_string(size));

  std::string text(static_cast<size_t>(length), '\0');
  ONNXTOOL_TRY(bytes->read_at(prefix, std::as_writable_bytes(std::span(text))));
  const std::optional<Header> header = HeaderParser(text).parse();
  if (!header)
    return bad_data(place + ": the .npy header is no dict of descr, fortran_order and shape: " +
                    describe_start(std::as_bytes(std::span(text))));

  StoredArray array;
  array.name = std::move(name);
  array.place = std::move(place);
  array.dims = header->shape;
  array.fortran_order = header->fortran_order;
  array.offset = prefix + length;
  if (!set_type(header->descr, array)) {
    const std::string shown = header->descr.substr(0, 60);
    const bool pickled = header->descr.find('O') != std::string::npos;
    return bad_data(
        array.place + ": elements are '" + shown +
            "', expected bool, integers, floats, complex or fixed-width strings",
        pickled ? "the array holds pickled Python objects: save it with a numeric dtype"
                : "save the array as float32 or with another dtype that NumPy has built in");
  }
  const auto payload = stored_size_bytes(array);
  const uint64_t available = size - array.offset;
  if (!payload || *payload != available)
    return bad_data(array.place + ": " + std::to_string(available) +
                    " bytes follow the header, expected " +
                    (payload ? std::to_string(*payload) : "more than any file has") + " for " +
                    header->descr + format_dims(array.dims) +
                    (payload && *payload > available ? "; the file is truncated" : ""));
  array.bytes = std::move(bytes);
  return array;
}

Result<StoredArray> open_npy(const std::string& path, std::string name) {
  ONNXTOOL_ASSIGN(std::shared_ptr<const DataFile> file, DataFile::open(path));
  return read_npy(std::move(file), std::move(name), path);
}

}  // namespace onnxtool
