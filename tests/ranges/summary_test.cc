// Summaries: counts and extrema against a plain loop, bucket boundaries, exact merging.

#include "calib/ranges/summary.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <vector>

#include "libopt/support/half.h"

namespace onnxtool {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
const float kNan = std::numeric_limits<float>::quiet_NaN();

/// What the header promises, the slow way.
struct Expected {
  std::map<uint32_t, uint64_t> counts;
  uint64_t zeros = 0, nan = 0, positive_infinity = 0, negative_infinity = 0, finite = 0;
  float min = kInf, max = -kInf;

  explicit Expected(std::span<const float> values) {
    for (float v : values) {
      if (std::isnan(v)) {
        ++nan;
      } else if (std::isinf(v)) {
        ++(v > 0 ? positive_infinity : negative_infinity);
      } else {
        ++finite;
        min = std::min(min, v);
        max = std::max(max, v);
        if (v == 0)
          ++zeros;
        else
          ++counts[std::bit_cast<uint32_t>(v) >> 15];
      }
    }
  }
};

void check(const Summary& s, std::span<const float> values) {
  const Expected e(values);
  CHECK(s.count() == values.size());
  CHECK(s.finite() == e.finite);
  CHECK(s.zeros() == e.zeros);
  CHECK(s.nan() == e.nan);
  CHECK(s.positive_infinity() == e.positive_infinity);
  CHECK(s.negative_infinity() == e.negative_infinity);
  if (e.finite) {
    CHECK(s.min() == e.min);
    CHECK(s.max() == e.max);
  }
  if (s.mode() == Summary::Mode::kMinMax) {
    CHECK(s.counts().empty());
    return;
  }
  const auto counts = s.counts();
  REQUIRE(counts.size() == e.counts.size());
  size_t i = 0;
  for (const auto& [index, n] : e.counts) {
    CHECK(counts[i].index == index);
    CHECK(counts[i].count == n);
    ++i;
  }
}

std::vector<float> normal(size_t n, uint32_t seed, float scale = 1) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> distribution(0, scale);
  std::vector<float> v(n);
  for (float& x : v) x = distribution(generator);
  return v;
}

Summary of(std::span<const float> values, Summary::Mode mode = Summary::Mode::kHistogram) {
  Summary s(mode);
  s.add(values);
  return s;
}

TEST_CASE("summary: counts equal those of a plain loop, below and above the table's threshold") {
  // Sizes around the vector width, the chunk and the threshold.
  for (size_t n : {0, 1, 3, 7, 8, 9, 2047, 2049, 32767, 32768, 32771, 70001}) {
    CAPTURE(n);
    std::vector<float> v = normal(n, 7);
    check(of(v), v);
    for (float& x : v) x = std::max(x, 0.0f);
    check(of(v), v);
    check(of(v, Summary::Mode::kMinMax), v);
    for (float& x : v) x = -x;  // negative zeros too
    check(of(v), v);
  }
}

TEST_CASE("summary: NaN and infinities are counted apart wherever they stand") {
  for (size_t n : {5, 3000, 40000}) {
    std::vector<float> v = normal(n, 3);
    for (size_t i : {size_t{0}, n / 2, n - 1}) {
      for (float special : {kNan, -kNan, kInf, -kInf}) {
        std::vector<float> w = v;
        w[i] = special;
        check(of(w), w);
        check(of(w, Summary::Mode::kMinMax), w);
      }
    }
  }
  const std::vector<float> none = {kNan, kInf, -kInf, kNan};
  check(of(none), none);
  CHECK(of(none).min() == 0);
  CHECK(of(none).max() == 0);
  CHECK(of(none).buckets().empty());
  CHECK_FALSE(of(none).all_finite());
}

TEST_CASE("summary: after non-finite values the table is clean for the next tensor") {
  std::vector<float> bad = normal(50000, 1);
  bad[123] = kNan;
  check(of(bad), bad);
  const std::vector<float> good = normal(50000, 2);
  check(of(good), good);
}

TEST_CASE("summary: subnormals, both zeros, the smallest normal and the largest floats") {
  const float tiny = std::numeric_limits<float>::denorm_min();
  const float smallest = std::numeric_limits<float>::min();
  const float largest = std::numeric_limits<float>::max();
  // 0x7fff and 0x8000 are the last pattern that shares zero's bucket and the first that does not.
  std::vector<float> v = {tiny,
                          -tiny,
                          0.0f,
                          -0.0f,
                          std::bit_cast<float>(0x7fffu),
                          std::bit_cast<float>(0x8000u),
                          -std::bit_cast<float>(0x7fffu),
                          smallest,
                          -smallest,
                          largest,
                          -largest,
                          1.0f,
                          std::nextafter(1.0f, 0.0f),
                          1.0f + 0x1p-8f,
                          std::nextafter(1.0f + 0x1p-8f, 0.0f)};
  check(of(v), v);
  CHECK(of(v).zeros() == 2);
  // Again by way of the table.
  std::vector<float> many;
  for (int i = 0; i < 4000; ++i) many.insert(many.end(), v.begin(), v.end());
  check(of(many), many);

  const auto buckets = of(v).buckets();
  CHECK(buckets.front().lower == -static_cast<double>(largest));
  CHECK(buckets.back().upper == static_cast<double>(largest));
  for (size_t i = 0; i < buckets.size(); ++i) {
    CHECK(buckets[i].lower <= buckets[i].upper);
    CHECK((buckets[i].lower >= 0 || buckets[i].upper <= 0));
    if (i) CHECK(buckets[i - 1].upper <= buckets[i].lower);
  }
}

TEST_CASE("summary: a zero extremum is +0 whichever zero came first") {
  CHECK_FALSE(std::signbit(of(std::vector<float>{-0.0f}).min()));
  CHECK_FALSE(std::signbit(of(std::vector<float>{-1.0f, -0.0f}).max()));
  CHECK(of(std::vector<float>{-0.0f, 0.0f}) == of(std::vector<float>{0.0f, -0.0f}));
}

TEST_CASE("summary: a bucket begins at its lower edge, and the outermost end at the extrema") {
  const std::vector<float> v = {1.0f, 1.001f, 1.00390625f, -2.5f, 6.0f};
  const auto b = of(v).buckets();
  REQUIRE(b.size() == 4);
  CHECK(b[0].lower == -2.5);
  CHECK(b[0].upper ==
        -2.5);  // a bucket of negatives ends at its smaller magnitude: here the value itself
  CHECK(b[1].lower == 1.0);
  CHECK(b[1].upper == 1.00390625);
  CHECK(b[1].count == 2);
  CHECK(b[2].lower == 1.00390625);
  CHECK(b[3].lower == 6.0);
  CHECK(b[3].upper == 6.0);  // clipped at max: a point mass
}

TEST_CASE("summary: merging is exact, commutative and associative") {
  std::vector<float> all = normal(90000, 11, 3);
  all[5] = kNan;
  all[70000] = -kInf;
  for (size_t i = 0; i < all.size(); i += 3) all[i] = 0;
  const std::span<const float> s(all);
  const Summary a = of(s.subspan(0, 1000)), b = of(s.subspan(1000, 50000)),
                c = of(s.subspan(51000));
  const Summary whole = of(all);

  Summary ab = a, ba = b, bc = b, ab_c, a_bc = a;
  ab.merge(b);
  ba.merge(a);
  bc.merge(c);
  ab_c = ab;
  ab_c.merge(c);
  a_bc.merge(bc);
  CHECK(ab == ba);
  CHECK(ab_c == a_bc);
  CHECK(ab_c == whole);
  CHECK_FALSE(ab == whole);

  Summary with_empty = whole;
  with_empty.merge(Summary());
  CHECK(with_empty == whole);
  Summary from_empty;
  from_empty.merge(whole);
  CHECK(from_empty == whole);

  Summary extrema = of(s.subspan(0, 1000), Summary::Mode::kMinMax);
  extrema.merge(b);
  CHECK(extrema.mode() == Summary::Mode::kMinMax);
  CHECK(extrema.min() == ab.min());
  CHECK(extrema.zeros() == ab.zeros());
}

TEST_CASE("summary: memory does not depend on the number of values") {
  const std::vector<float> v = normal(40000, 4);
  Summary s = of(v);
  const size_t bytes = s.size_bytes();
  for (int i = 0; i < 20; ++i) s.add(v);
  CHECK(s.size_bytes() == bytes);
  CHECK(s.count() == 21 * v.size());
}

TEST_CASE("summary: moments are those of the values to within a bucket") {
  const std::vector<float> v = normal(100000, 5, 2);
  double mean = 0, square = 0;
  for (float x : v) mean += x;
  mean /= static_cast<double>(v.size());
  for (float x : v) square += (x - mean) * (x - mean);
  const Summary s = of(v);
  CHECK(s.mean() == doctest::Approx(mean).epsilon(1e-3));
  CHECK(s.variance() == doctest::Approx(square / static_cast<double>(v.size())).epsilon(1e-4));
  CHECK(of(std::vector<float>{3, 3, 3}).mean() == 3);
  CHECK(of(std::vector<float>{3, 3, 3}).variance() == 0);
}

TEST_CASE("summary: other element types are widened, padding of blocked layouts is left out") {
  const std::vector<Half> half = {Half(1.5f), Half(-2.0f), Half(0.0f)};
  const std::vector<int64_t> dims = {3};
  Summary s;
  REQUIRE(s.add(ConstView{DataType::kFloat16, dims, half.data(), 3}).ok());
  CHECK(s == of(std::vector<float>{1.5f, -2.0f, 0.0f}));

  const std::vector<double> wide = {1e300, -1.0};
  const std::vector<int64_t> two = {2};
  Summary d;
  REQUIRE(d.add(ConstView{DataType::kDouble, two, wide.data(), 2}).ok());
  CHECK(d.positive_infinity() == 1);

  // [N, C, H] = [2, 11, 3] in blocks of 8: the second block has 3 channels and 5 of padding.
  const std::vector<int64_t> image = {2, 11, 3};
  std::vector<float> blocked(2 * 2 * 3 * 8, 99.0f), logical;
  float next = 1;
  for (int n = 0; n < 2; ++n)
    for (int c = 0; c < 11; ++c)
      for (int h = 0; h < 3; ++h) {
        blocked[static_cast<size_t>(((n * 2 + c / 8) * 3 + h) * 8 + c % 8)] = next;
        logical.push_back(next++);
      }
  Summary b;
  REQUIRE(b.add(ConstView{DataType::kFloat, image, blocked.data(), 66, MemorySpace::kHost,
                          Layout::kBlocked8})
              .ok());
  CHECK(b == of(logical));

  const std::vector<int64_t> ints = {1};
  Summary refused;
  const Status status = refused.add(ConstView{DataType::kInt64, dims, ints.data(), 1});
  REQUIRE_FALSE(status.ok());
  CHECK(status.error().message == "no range of a tensor of type int64, expected a floating type");
}

TEST_CASE("summary: restore gives back what counts() wrote, and refuses what contradicts itself") {
  std::vector<float> v = normal(5000, 9);
  v[0] = 0;
  v[1] = kNan;
  const Summary s = of(v);
  const Summary::Header good{s.zeros(), s.nan(), 0, 0, s.finite(), s.min(), s.max()};
  const std::vector<Summary::Count> counts = s.counts();
  const auto back = Summary::restore(s.mode(), good, counts);
  REQUIRE(back.ok());
  CHECK(*back == s);

  const auto refuse = [&](Summary::Header h, std::vector<Summary::Count> c) {
    return !Summary::restore(s.mode(), h, c).ok();
  };
  Summary::Header h = good;
  h.finite += 1;
  CHECK(refuse(h, counts));
  h = good;
  h.max *= 2;
  CHECK(refuse(h, counts));
  h = good;
  h.min = kNan;
  CHECK(refuse(h, counts));
  h = good;
  h.zeros = h.finite + 1;
  CHECK(refuse(h, counts));
  auto c = counts;
  std::swap(c[0], c[1]);
  CHECK(refuse(good, c));
  c = counts;
  c.back().index = 0xffu << 8;  // infinity's bucket
  CHECK(refuse(good, c));
  c = counts;
  c[0].count = ~uint64_t{0};
  CHECK(refuse(good, c));
  CHECK_FALSE(Summary::restore(Summary::Mode::kMinMax, good, counts).ok());
  CHECK(Summary::restore(Summary::Mode::kMinMax, good, {}).ok());
}

TEST_CASE("summary: extrema of one sign restore too") {
  for (const std::vector<float>& v :
       {std::vector<float>{1, 2, 3}, {-1, -2, -3}, {0, 0}, {0, 5}, {-5, 0}, {-0.0f, 1e-45f}}) {
    const Summary s = of(v);
    const auto back =
        Summary::restore(s.mode(), {s.zeros(), 0, 0, 0, s.finite(), s.min(), s.max()}, s.counts());
    REQUIRE(back.ok());
    CHECK(*back == s);
  }
}

}  // namespace
}  // namespace onnxtool
