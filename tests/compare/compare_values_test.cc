// Sequences and maps compared.
#include "calib/compare/compare_values.h"

#include <doctest/doctest.h>

namespace onnxtool {
namespace {

Datum map_of(std::vector<std::string> keys, std::vector<float> values) {
  const auto n = static_cast<int64_t>(keys.size());
  return Datum::map(Tensor::from_strings({n}, std::move(keys)), Tensor::from({n}, values));
}

std::string why(const Datum& reference, const Datum& test) {
  const auto m = compare_values("p", reference, test, {});
  REQUIRE_FALSE(m.ok());
  CHECK(m.error().code == ErrorCode::kMismatch);
  return m.error().message;
}

TEST_CASE("maps compare by key, whatever their order, and are rows of scores") {
  const Datum r = Datum::sequence(
      {map_of({"cat", "dog"}, {0.75f, 0.25f}), map_of({"cat", "dog"}, {0.5f, 1.5f})});
  const Datum t = Datum::sequence(
      {map_of({"dog", "cat"}, {0.25f, 0.75f}), map_of({"dog", "cat"}, {0.5f, 1.0f})});
  const auto m = compare_values("p", r, t, {});
  REQUIRE(m.ok());
  CHECK(m->elements == 4);
  CHECK(m->compared == 4);
  CHECK(m->max_abs == 1);
  CHECK(m->max_abs_index == 3);
  CHECK(m->worst_place == "p[1][\"dog\"]");
  CHECK(m->sum_e2 == 1.25);
  CHECK(m->sum_r2 == 0.75 * 0.75 + 0.0625 + 0.25 + 2.25);
  CHECK(m->mismatches == 2);
  CHECK(m->rows == 2);
  CHECK(m->argmax_equal == 1);
  CHECK_FALSE(m->identical);
}

TEST_CASE("a sequence is compared as if its tensors stood in one") {
  const Tensor a = Tensor::vector<float>({1, 2}), b = Tensor::vector<float>({3, 4, 5});
  const Tensor c = Tensor::vector<float>({3, 4, 6});
  const auto m = compare_values("p", Datum::sequence({a, b}), Datum::sequence({a, c}), {});
  const auto flat = compare_values("p", Tensor::vector<float>({1, 2, 3, 4, 5}),
                                   Tensor::vector<float>({1, 2, 3, 4, 6}), {});
  REQUIRE(m.ok());
  REQUIRE(flat.ok());
  CHECK(m->sqnr() == flat->sqnr());
  CHECK(m->max_abs_index == flat->max_abs_index);
  CHECK(m->max_rel == flat->max_rel);
  CHECK(m->outside_band == flat->outside_band);
  CHECK(m->relative.count() == flat->relative.count());
  CHECK(m->worst_place == "p[1]");
  CHECK(flat->worst_place.empty());
}

TEST_CASE("containers of other form are mismatches that name the place") {
  const Datum one = Datum::sequence({map_of({"a"}, {1})});
  CHECK(why(one, Tensor::scalar(1.0f)) == "p is a tensor, but a sequence in the reference");
  CHECK(why(one, Datum::sequence({})) == "p has 0 elements, but 1 in the reference");
  CHECK(why(one, Datum::sequence({Tensor::scalar(1.0f)})) ==
        "p[0] is a tensor, but a map in the reference");
  CHECK(why(one, Datum::sequence({map_of({"b"}, {1})})) ==
        "p[0]: the keys are not those of the reference");
  CHECK(
      why(Datum::sequence({Tensor::scalar(1.0f)}), Datum::sequence({Tensor::vector<float>({1})})) ==
      "p[0]: shape is [1], but [] in the reference");
  CHECK(why(Datum(), Tensor::scalar(1.0f)) ==
        "p is a tensor, but an optional without a value in the reference");
}

TEST_CASE("two empty values compare nothing") {
  for (const Datum& empty : {Datum(), Datum::sequence({})}) {
    const auto m = compare_values("p", empty, empty, {});
    REQUIRE(m.ok());
    CHECK_FALSE(m->any());
  }
}

}  // namespace
}  // namespace onnxtool
