// Algebra of extents: equal ones look alike, and bounds decide what they can.
#include "libopt/analysis/extent.h"

#include <doctest/doctest.h>

#include "libopt/analysis/assumptions.h"
#include "libopt/analysis/seam.h"

namespace onnxtool {
namespace {

const Extent kA = Extent::named("a"), kB = Extent::named("b b*{}"), kTwo = Extent::number(2),
             kOne = Extent::number(1);
const ExtentRanges kNone;

TEST_CASE("extent: sums and products have one form") {
  const Extent ab = *Extent::product(kA, kB);
  CHECK(*Extent::product(kB, kA) == ab);
  // (a + 1) (b + 2) = ab + 2a + b + 2
  const Extent left = *Extent::product(*Extent::sum(kA, kOne), *Extent::sum(kB, kTwo));
  const Extent right =
      *Extent::sum(*Extent::sum(ab, *Extent::product(kTwo, kA)), *Extent::sum(kB, kTwo));
  CHECK(left == right);
  CHECK(left.dim()->symbol == right.dim()->symbol);
  CHECK(*Extent::of(*left.dim()) == left);  // there and back
  CHECK(*Extent::of(*kB.dim()) == kB);
  CHECK(kB.dim()->symbol == "b b*{}");
  CHECK(*Extent::difference(left, left, kNone)->dim()->value == 0);
}

TEST_CASE("extent: what may be negative has no name") {
  CHECK(!Extent::difference(kA, kB, kNone));
  CHECK(!Extent::difference(kA, kOne, kNone));
  CHECK(Extent::difference(kA, kOne, {{"a", {1, {}}}}));
  CHECK(Extent::difference(*Extent::sum(kA, kB), kB, kNone) == kA);
}

TEST_CASE("extent: quotients") {
  const Extent six_a = *Extent::product(Extent::number(6), kA);
  CHECK(*Extent::quotient(six_a, kTwo, kNone) == *Extent::product(Extent::number(3), kA));
  CHECK(*Extent::quotient(*Extent::product(kA, kB), kB, kNone) == kA);
  // floor((6a + 1) / 2) = 3a, and floor((6a + b) / 2) = 3a + floor(b / 2)
  CHECK(*Extent::quotient(*Extent::sum(six_a, kOne), kTwo, kNone) ==
        *Extent::product(Extent::number(3), kA));
  const Extent half_b = *Extent::quotient(kB, kTwo, kNone);
  CHECK(*Extent::quotient(*Extent::sum(six_a, kB), kTwo, kNone) ==
        *Extent::sum(*Extent::product(Extent::number(3), kA), half_b));
  CHECK(half_b.high({{"b b*{}", {0, 9}}}) == 4);
  CHECK(*Extent::of(*half_b.dim()) == half_b);
  CHECK(!Extent::quotient(kA, Extent::number(0), kNone));
}

TEST_CASE("extent: bounds decide the smaller and the larger") {
  const ExtentRanges ranges = {{"a", {1, 64}}};
  CHECK(*Extent::smaller(kA, Extent::number(100), ranges) == kA);
  CHECK(*Extent::larger(kA, kOne, ranges) == kA);
  const Extent capped = *Extent::smaller(kA, Extent::number(8), ranges);
  CHECK(capped == *Extent::smaller(Extent::number(8), kA, ranges));
  CHECK(capped.limit_on(kA) == 8);
  CHECK(!capped.limit_on(kB));
  CHECK(capped.low(ranges) == 1);
  CHECK(capped.high(ranges) == 8);
  CHECK(*Extent::larger(kA, Extent::number(0), kNone) == kA);  // extents are not negative
}

TEST_CASE("extent: bounds of what is nested in itself many times") {
  // The larger of the same in two places, fifteen times over: 2^15 names, each to be looked at once.
  std::string name = "1*{1:a}";
  for (int i = 0; i < 15; ++i) name = "1*max(" + name + "," + name + ")";
  const auto nested = Extent::of(Dim::named("?v=" + name));
  REQUIRE(nested);
  CHECK(nested->low({{"a", {3, 7}}}) == 3);
  CHECK(nested->high({{"a", {3, 7}}}) == 7);
}

TEST_CASE("extent: names that look like ours but are not are no extents") {
  for (const char* name : {"?v=", "?v=1*", "?v=1*{5:a}", "?v=2*{1:a}x", "?v=1*min(1,", "?v=9*{-1:"})
    CHECK_MESSAGE(!Extent::of(Dim::named(name)), name);
}

TEST_CASE("assumptions: named dimensions of inputs, kept in the model") {
  const auto model = *parse_text(
      "<ir_version: 8, opset_import: [\"\" : 17]> g (float[batch,4] x) => (float[batch,4] y) "
      "{ y = Neg (x) }");
  CHECK(assume(*model, {"batch=1..64"}).ok());
  CHECK(assumptions_of(*model).at("batch").low == 1);
  CHECK(assumptions_of(*model).at("batch").high == 64);
  CHECK(is_positive(Dim::named("batch"), *model));
  CHECK(!is_positive(Dim::named("other"), *model));
  CHECK(assume(*model, {"batch=2..8"}).ok());
  CHECK(model->metadata.size() == 1);
  CHECK(assumptions_of(*model).at("batch").low == 2);
  CHECK(assumptions_of(*model).at("batch").high == 8);
  for (const char* wrong : {"batch", "batch=", "batch=1", "batch=1..0", "batch=-1..2", "seq=1..2",
                            "batch=1..2x", "=1..2"})
    CHECK_MESSAGE(!assume(*model, {wrong}).ok(), wrong);
}

TEST_CASE("assumptions: what a model was optimized for is not widened") {
  const auto model = *parse_text(
      "<ir_version: 8, opset_import: [\"\" : 17]> g (float[n,4] x) => (float[n,4] y) "
      "{ y = Neg (x) }");
  REQUIRE(assume(*model, {"n=1..8"}).ok());
  for (const char* wider : {"n=1..100", "n=9..12", "n=0..8", "n=2.."}) {
    const Status s = assume(*model, {wider});
    CHECK_MESSAGE(!s.ok(), wider);
    if (!s.ok()) CHECK(s.error().code == ErrorCode::kUsage);
  }
  CHECK(assumptions_of(*model).at("n").high == 8);
  CHECK(!assume(*model, {"n=1..2", "n=3..4"}).ok());
  REQUIRE(assume(*model, {"n=2..7", "n=1..5"}).ok());
  CHECK(assumptions_of(*model).at("n").low == 2);
  CHECK(assumptions_of(*model).at("n").high == 5);
}

}  // namespace
}  // namespace onnxtool
