// What sequences and maps consist of, and how files of test data hold them.
#include "calib/data/leaves.h"

#include <doctest/doctest.h>

#include "libopt/io/decode_datum.h"
#include "libopt/io/encode_datum.h"

namespace onnxtool {
namespace {

Datum scores(std::vector<std::string> labels, std::vector<float> values) {
  const auto n = static_cast<int64_t>(labels.size());
  return Datum::map(Tensor::from_strings({n}, std::move(labels)), Tensor::from({n}, values));
}

ValueType container(ValueType::Kind kind, ValueType element) {
  ValueType t;
  t.kind = kind;
  t.element = std::make_shared<ValueType>(std::move(element));
  return t;
}

TEST_CASE("a value is its tensors under their paths, maps by ascending keys") {
  const Datum value = Datum::sequence(
      {scores({"dog", "a\"cat"}, {1, 2}), Datum(), Datum::sequence({Tensor::scalar(int64_t{7})})});
  const std::vector<Leaf> leaves = leaves_of("p", value);
  REQUIRE(leaves.size() == 2);
  CHECK(leaves[0].path == "p[0]");
  CHECK(leaves[0].keys->strings() == std::vector<std::string>{"a\"cat", "dog"});
  CHECK(leaves[0].values.values<float>() == std::vector<float>{2, 1});
  CHECK(element_path(leaves[0], 0) == "p[0][\"a\\\"cat\"]");
  CHECK(leaves[1].path == "p[2][0]");
  CHECK_FALSE(leaves[1].keys);

  const std::vector<NamedTensor> tensors = tensors_of("p", value);
  REQUIRE(tensors.size() == 3);
  CHECK(tensors[1].name == "p[0][\"dog\"]");
  CHECK(tensors[1].tensor.dims().empty());
  CHECK(tensors[1].tensor.values<float>() == std::vector<float>{1});

  const Tensor keys = Tensor::vector<int64_t>({10, -1, 9});
  const Datum ints = Datum::map(keys, Tensor::from_strings({3}, {"x", "y", "z"}));
  CHECK(element_path(leaves_of("m", ints)[0], 2) == "m[10]");
  CHECK(leaves_of("m", ints)[0].values.strings() == std::vector<std::string>{"y", "z", "x"});
}

TEST_CASE("the type of the tensors inside") {
  const ValueType map = container(ValueType::Kind::kMap, ValueType::tensor(DataType::kFloat));
  CHECK(leaf_type(container(ValueType::Kind::kSequence, map)) == DataType::kFloat);
  CHECK(leaf_type(ValueType::tensor(DataType::kInt8)) == DataType::kInt8);
  CHECK(leaf_type(ValueType()) == DataType::kUndefined);
}

// The same value read back: leaves tell all that a value holds but empty ends.
void check_round_trip(const Datum& value, const ValueType& type) {
  const std::string bytes = encode_datum("v", value, type).flatten();
  const auto read = decode_datum({std::as_bytes(std::span(bytes)), nullptr, nullptr}, type);
  REQUIRE(read.ok());
  CHECK(read->kind() == value.kind());
  const std::vector<Leaf> before = leaves_of("v", value), after = leaves_of("v", *read);
  REQUIRE(before.size() == after.size());
  for (size_t i = 0; i < before.size(); ++i) {
    CHECK(before[i].path == after[i].path);
    CHECK(before[i].values.same_content(after[i].values));
    REQUIRE(before[i].keys.has_value() == after[i].keys.has_value());
    if (before[i].keys) CHECK(before[i].keys->same_content(*after[i].keys));
  }
}

TEST_CASE("containers written as test data are read back") {
  const ValueType tensor = ValueType::tensor(DataType::kFloat);
  const ValueType sequence = container(ValueType::Kind::kSequence, tensor);
  const ValueType optional = container(ValueType::Kind::kOptional, tensor);
  const ValueType map = container(ValueType::Kind::kMap, tensor);
  const Tensor numbers = Tensor::vector<float>({1, 2, 3});
  check_round_trip(numbers, tensor);
  check_round_trip(Datum::sequence({}), sequence);
  check_round_trip(Datum::sequence({numbers, Tensor::scalar(4.0f)}), sequence);
  check_round_trip(Datum::sequence({Datum::sequence({numbers})}),
                   container(ValueType::Kind::kSequence, sequence));
  check_round_trip(scores({"a", "b"}, {0.5f, 0.25f}), map);
  check_round_trip(Datum::map(Tensor::vector<int64_t>({3, -4}), Tensor::vector<double>({1, 2})),
                   map);
  check_round_trip(Datum::sequence({scores({"a"}, {1}), scores({"b"}, {2})}),
                   container(ValueType::Kind::kSequence, map));
  check_round_trip(Datum(), optional);
  check_round_trip(numbers, optional);
  check_round_trip(Datum::sequence({numbers}), container(ValueType::Kind::kOptional, sequence));
}

}  // namespace
}  // namespace onnxtool
