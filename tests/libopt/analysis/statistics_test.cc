#include "libopt/analysis/statistics.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <numeric>

namespace onnxtool {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST_CASE("statistics: what is not finite is counted and not averaged") {
  const auto s = statistics_of(Tensor::vector<float>({0, -0.0f, 3, NAN, kInfinity, -kInfinity, 1}));
  CHECK(s.zeros == 2);
  CHECK(s.nan == 1);
  CHECK(s.infinite == 2);
  CHECK(s.finite == 4);
  CHECK(s.min == 0);
  CHECK(s.max == 3);
  CHECK(s.mean == 1);
  CHECK(s.std == doctest::Approx(std::sqrt(6.0 / 4)));
  const auto none = statistics_of(Tensor::vector<float>({NAN}));
  CHECK(none.finite == 0);
  CHECK(none.min == 0);
  CHECK(none.max == 0);
}

TEST_CASE("statistics: counts have equal steps, the largest value in the last") {
  const auto c = count_values(Tensor::vector<float>({0, 1, 2, 3, 3.9f, 4, NAN, kInfinity}), 4);
  CHECK(c.low == 0);
  CHECK(c.high == 4);
  CHECK(c.counts == std::vector<int64_t>{1, 1, 1, 3});
}

TEST_CASE("statistics: integers have a step each") {
  const auto c = count_values(Tensor::vector<int8_t>({-2, 1, 1, 0}), 48);
  CHECK(c.low == -2.5);
  CHECK(c.high == 1.5);
  CHECK(c.counts == std::vector<int64_t>{1, 0, 1, 2});
}

TEST_CASE("statistics: a single value, the widest range, and nothing finite") {
  CHECK(count_values(Tensor::vector<float>({7, 7}), 3).counts == std::vector<int64_t>{2, 0, 0});
  constexpr double kMax = std::numeric_limits<double>::max();
  const auto wide = count_values(Tensor::vector<double>({-kMax, kMax, 0}), 4);
  CHECK(wide.counts == std::vector<int64_t>{1, 0, 1, 1});
  constexpr double kLeast = std::numeric_limits<double>::denorm_min();
  const auto narrow = count_values(Tensor::vector<double>({0, kLeast, 2 * kLeast}), 48);
  CHECK(std::accumulate(narrow.counts.begin(), narrow.counts.end(), int64_t{0}) == 3);
  CHECK(count_values(Tensor::vector<float>({NAN, kInfinity}), 4).counts.empty());
  CHECK(count_values(Tensor::vector<float>({}), 4).counts.empty());
}

}  // namespace
}  // namespace onnxtool
