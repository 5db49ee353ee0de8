#include "libopt/io/wire.h"

#include <doctest/doctest.h>

#include <limits>

namespace onnxtool::wire {
namespace {

Bytes bytes_of(const std::string& s) { return std::as_bytes(std::span(s)); }

std::string message_of(Result<Field> r) { return r.ok() ? "ok" : r.error().message; }

TEST_CASE("fields come back as they were written") {
  Rope rope;
  rope.int_field(1, -1);
  rope.int_field(2, std::numeric_limits<int64_t>::max());
  rope.float_field(3, -0.5f);
  rope.string_field(4, "text");
  const std::vector<int64_t> ints = {0, 1, 127, 128, -7};
  rope.packed_ints(5, ints);
  const std::vector<float> floats = {1.5f, -2.0f};
  rope.packed_floats(6, floats);
  Rope inner;
  inner.string_field(1, "x");
  rope.message_field(7, std::move(inner));
  const std::string bytes = rope.flatten();
  CHECK(bytes.size() == rope.size());

  Reader reader(bytes_of(bytes));
  CHECK((*reader.next()).int64() == -1);
  CHECK((*reader.next()).int64() == std::numeric_limits<int64_t>::max());
  CHECK((*reader.next()).float32() == -0.5f);
  CHECK((*reader.next()).string() == "text");
  std::vector<int64_t> ints_back;
  CHECK(append_ints(*reader.next(), ints_back).ok());
  CHECK(ints_back == ints);
  std::vector<float> floats_back;
  CHECK(append_floats(*reader.next(), floats_back).ok());
  CHECK(floats_back == floats);
  const Field message = *reader.next();
  CHECK(message.number == 7);
  CHECK(message.bytes.size() == 3);
  CHECK(message.raw.size() == 5);
  CHECK(reader.done());
}

TEST_CASE("repeated numbers may also come one by one") {
  Rope rope;
  for (const int64_t v : {3, 300}) rope.int_field(1, v);
  rope.float_field(2, 0.25f);
  const std::string bytes = rope.flatten();
  Reader reader(bytes_of(bytes));
  std::vector<int64_t> ints;
  std::vector<float> floats;
  CHECK(append_ints(*reader.next(), ints).ok());
  CHECK(append_ints(*reader.next(), ints).ok());
  CHECK(append_floats(*reader.next(), floats).ok());
  CHECK(ints == std::vector<int64_t>{3, 300});
  CHECK(floats == std::vector<float>{0.25f});
}

TEST_CASE("malformed bytes are errors that name the place") {
  const auto first = [](std::string bytes) { return message_of(Reader(bytes_of(bytes)).next()); };
  CHECK(first("\x0a\x05"
              "abc") ==
        "malformed bytes at offset 0 of a message: field 1 has 5 bytes, but only 3 are left");
  CHECK(first("\x0a") == "malformed bytes at offset 0 of a message: bad length");
  CHECK(first("\x08") == "malformed bytes at offset 0 of a message: bad number");
  CHECK(first("\x0d"
              "abc") == "malformed bytes at offset 0 of a message: number is cut off");
  CHECK(first("\x09"
              "abcdefg") == "malformed bytes at offset 0 of a message: number is cut off");
  CHECK(first("\x0b") == "malformed bytes at offset 0 of a message: unsupported wire type");
  CHECK(first(std::string(1, '\0')) ==
        "malformed bytes at offset 0 of a message: bad field number");
  CHECK(first("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02") ==
        "malformed bytes at offset 0 of a message: bad number");  // 2^64
  // A length beyond any file must not wrap.
  CHECK(
      first("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")
          .starts_with(
              "malformed bytes at offset 0 of a message: field 1 has 18446744073709551615 bytes"));

  const std::string two("\x08\x01\x0a\x7f", 4);
  Reader reader(bytes_of(two));
  CHECK(reader.next().ok());
  CHECK(message_of(reader.next()).starts_with("malformed bytes at offset 2"));
}

TEST_CASE("packed content of a wrong size is refused") {
  Rope rope;
  rope.string_field(1, "abc");
  rope.string_field(1, "\xff");
  const std::string bytes = rope.flatten();
  Reader reader(bytes_of(bytes));
  const Field three = *reader.next(), open = *reader.next();
  std::vector<float> floats;
  std::vector<double> doubles;
  std::vector<int64_t> ints;
  CHECK_FALSE(append_floats(three, floats).ok());
  CHECK_FALSE(append_doubles(three, doubles).ok());
  CHECK_FALSE(append_ints(open, ints).ok());
}

TEST_CASE("long payloads travel by reference") {
  const Tensor tensor =
      Tensor::from_bytes(DataType::kUint8, {5000}, std::vector<std::byte>(5000, std::byte{7}));
  Rope inner, rope;
  inner.append("head");
  inner.append_payload(tensor);
  inner.append("tail");
  rope.message_field(9, std::move(inner));
  bool by_reference = false;
  for (const auto& piece : rope.pieces())
    by_reference |= piece.bytes().data() == tensor.bytes().data();
  CHECK(by_reference);
  CHECK(rope.size() == 3 + 4 + 5000 + 4);
  CHECK(rope.flatten().size() == rope.size());
}

}  // namespace
}  // namespace onnxtool::wire
