// Quantiles and ratios of timings.
#include "calib/compare/latency.h"

#include <doctest/doctest.h>

#include <random>

namespace onnxtool {
namespace {

TEST_CASE("quantiles are timings that were taken") {
  std::vector<double> ms;
  for (int i = 100; i > 0; --i) ms.push_back(i);
  const Latency l = summarize_latency(ms);
  CHECK(l.runs == 100);
  CHECK(l.min == 1);
  CHECK(l.mean == 50.5);
  CHECK(l.p50 == 50);
  CHECK(l.p90 == 90);
  CHECK(l.p99 == 99);
  const Latency one = summarize_latency({3});
  CHECK(one.p50 == 3);
  CHECK(one.p99 == 3);
  CHECK(summarize_latency({}).runs == 0);
}

TEST_CASE("the interval of a ratio holds the ratio, and what disturbs both models does not count") {
  std::mt19937 random(5);
  std::normal_distribution<double> noise(0, 0.02);
  std::vector<double> a, b;
  for (int i = 0; i < 200; ++i) {
    const double disturbance = i % 7 ? 1 : 5;
    a.push_back(3 * disturbance * (1 + noise(random)));
    b.push_back(2 * disturbance * (1 + noise(random)));
  }
  const RatioInterval r = ratio_interval(a, b);
  CHECK(r.low < 1.5);
  CHECK(r.high > 1.5);
  CHECK(r.low <= r.ratio);
  CHECK(r.ratio <= r.high);
  CHECK(r.high - r.low < 0.03);
  CHECK(ratio_interval(a, b).low == r.low);
}

TEST_CASE("what interrupts runs of a round is not in its time") {
  CHECK(middle_mean({1, 2, 1000, 3, 2, 2, 0.5, 1}) == 1.75);
  CHECK(middle_mean({4}) == 4);
}

TEST_CASE("one pair is an interval of one point") {
  const RatioInterval r = ratio_interval(std::vector<double>{4}, std::vector<double>{2});
  CHECK(r.ratio == 2);
  CHECK(r.low == 2);
  CHECK(r.high == 2);
}

}  // namespace
}  // namespace onnxtool
