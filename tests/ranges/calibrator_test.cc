// Calibrators against the values themselves: brute force for mse, numpy for percentile, the recipe
// written out for entropy.

#include "calib/ranges/calibrator.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <vector>

namespace onnxtool {
namespace {

constexpr QuantScheme kU8{0, 255, false, 0, 255};
constexpr QuantScheme kS8{-128, 127, false, -128, 127};
constexpr QuantScheme kS8Symmetric{-127, 127, true, -128, 127};
constexpr QuantScheme kU8Symmetric{0, 255, true, 0, 255};
constexpr QuantScheme kU4{0, 15, false, 0, 15};
constexpr Calibrator kAll[] = {Calibrator::kMinMax, Calibrator::kPercentile, Calibrator::kEntropy,
                               Calibrator::kMse};

Summary of(std::span<const float> values, Summary::Mode mode = Summary::Mode::kHistogram) {
  Summary s(mode);
  s.add(values);
  return s;
}

Range range(Calibrator c, std::span<const float> values, const QuantScheme& scheme,
            double percentile = 99.99) {
  const auto r = calibrate(c, of(values), scheme, {.percentile = percentile});
  REQUIRE(r.ok());
  return *r;
}

/// Mean squared error of quantizing the values one by one.
double true_mse(std::span<const float> values, const Grid& grid, const QuantScheme& s) {
  double sum = 0;
  for (float x : values) {
    const double q = std::clamp<double>(std::nearbyint(x / grid.scale) + grid.zero_point,
                                        s.clip_min, s.clip_max);
    const double e = (q - grid.zero_point) * grid.scale - x;
    sum += e * e;
  }
  return sum / static_cast<double>(values.size());
}

std::map<std::string, std::vector<float>> distributions(size_t n) {
  std::mt19937 g(5);
  std::normal_distribution<float> normal;
  std::uniform_real_distribution<float> uniform;
  std::map<std::string, std::vector<float>> all;
  for (size_t i = 0; i < n; ++i) {
    const float x = normal(g), u = uniform(g) - 0.5f;
    all["normal"].push_back(x);
    all["relu"].push_back(std::max(0.0f, x));
    all["relu6"].push_back(std::clamp(4 * x, 0.0f, 6.0f));
    all["minus relu"].push_back(std::min(0.0f, x));
    all["shifted"].push_back(x + 1);
    all["laplace"].push_back((u < 0 ? -1.0f : 1.0f) * std::log(1 - 2 * std::fabs(u) + 1e-6f));
    all["outliers"].push_back(i % 5000 == 17 ? -30.0f : i % 5000 == 18 ? 40.0f : x);
    all["gelu"].push_back(0.5f * x * (1 + std::erf(x)));
    all["away from zero"].push_back(5 + uniform(g));
    all["integers"].push_back(std::floor(uniform(g) * 100));
  }
  return all;
}

TEST_CASE("grid: the formula's conformance vectors") {
  const auto grid = [](double low, double high, QuantScheme s) { return grid_of({low, high}, s); };
  CHECK(grid(-1, 3, kU8).scale == doctest::Approx(0.01568627));
  CHECK(grid(-1, 3, kU8).zero_point == 64);
  CHECK(grid(-1, 3, kS8).zero_point == -64);
  CHECK(grid(0.5, 2, kU8).scale == doctest::Approx(0.00784314));
  CHECK(grid(0.5, 2, kU8).zero_point == 0);
  CHECK(grid(-1, 1, kS8Symmetric).scale == doctest::Approx(1.0 / 127));
  CHECK(grid(-0.25, 1, kU8Symmetric).scale == doctest::Approx(2.0 / 255));
  CHECK(grid(-0.25, 1, kU8Symmetric).zero_point == 128);
  CHECK(grid(0, 0, kU8).scale == 1);
  CHECK(grid(0, 1e-40, kU8Symmetric).zero_point == 0);
}

TEST_CASE("expected error: the integral is what quantizing the values costs") {
  for (const auto& d : distributions(60000)) {
    const auto& name = d.first;
    const auto& values = d.second;
    const Summary s = of(values);
    for (const QuantScheme& scheme : {kU8, kS8Symmetric, kU8Symmetric, kU4}) {
      for (double shrink : {1.0, 0.6, 0.2}) {
        const Range r{shrink * s.min(), shrink * s.max()};
        const double truth = true_mse(values, grid_of(r, scheme), scheme);
        CAPTURE(name);
        CAPTURE(shrink);
        // Sampling noise of 60000 values, and buckets of 1/256 whose content is not quite uniform:
        // integers sit at bucket edges, which at one bit a step is visible.
        CHECK(expected_mse(s, r, scheme) ==
              doctest::Approx(truth).epsilon(name == "integers" ? 0.05 : 0.02));
      }
    }
  }
}

TEST_CASE("expected error: single values, the grid's own points, saturation, one bucket") {
  // On the grid: exact.
  CHECK(expected_mse(of(std::vector<float>{255}), {0, 255}, kU8) ==
        doctest::Approx(0).epsilon(1e-12));
  // 6 is a point mass at the end; clipped at 5 it costs 1.
  const std::vector<float> sixes = {6, 6, 0, 0};
  CHECK(expected_mse(of(sixes), {0, 5}, kU8) == doctest::Approx(0.5));
  CHECK(expected_mse(of(std::vector<float>{-6, 0}), {-5, 5}, {-127, 127, true, -127, 127}) ==
        doctest::Approx(0.5));
  CHECK(expected_sqnr(of(sixes), {0, 6}, kU8) > 200);
  CHECK(std::isinf(expected_sqnr(of(std::vector<float>{0, 0}), {0, 0}, kU8)));
  CHECK(std::isnan(expected_sqnr(of(sixes, Summary::Mode::kMinMax), {0, 6}, kU8)));
  CHECK(std::isnan(expected_sqnr(Summary(), {0, 6}, kU8)));
  // Everything below half a step rounds to zero.
  const std::vector<float> small = {0.1f, -0.2f};
  CHECK(expected_mse(of(small), {-255, 255}, kU8) ==
        doctest::Approx((0.01 + 0.04) / 2).epsilon(0.01));
}

TEST_CASE("mse: no scale and zero point do better, by brute force over the values") {
  for (const auto& d : distributions(4000)) {
    const auto& name = d.first;
    const auto& values = d.second;
    for (const QuantScheme& scheme : {kU8, kU4, kS8Symmetric}) {
      CAPTURE(name);
      CAPTURE(scheme.qmax);
      const double ours =
          true_mse(values, grid_of(range(Calibrator::kMse, values, scheme), scheme), scheme);
      const auto [low, high] = std::minmax_element(values.begin(), values.end());
      double least = std::numeric_limits<double>::infinity();
      const bool one_limit = scheme.symmetric || *low >= 0 || *high <= 0;
      for (int i = 1; i <= 44; ++i) {
        for (int k = one_limit ? i : 1; k <= (one_limit ? i : 44); ++k) {
          const Range r{std::min(0.0f, *low) * i / 44.0, std::max(0.0f, *high) * k / 44.0};
          least = std::min(least, true_mse(values, grid_of(r, scheme), scheme));
        }
      }
      // The histogram's expectation and these 4000 values differ a little; an optimum between the
      // brute force's points makes up for it.
      CHECK(ours <= least * 1.06);
    }
  }
}

TEST_CASE("mse, entropy: many values at an end, as behind a Clip") {
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0.3f, 1.2f);
  for (const float sign : {1.0f, -1.0f})
    for (const float end : {0.5f, 0.3f}) {
      std::vector<float> values(20000);
      for (float& v : values) v = sign * std::min(normal(random), end);
      CAPTURE(sign);
      CAPTURE(end);
      const auto error = [&](const Range& r) { return true_mse(values, grid_of(r, kU8), kU8); };
      const auto [low, high] = std::minmax_element(values.begin(), values.end());
      const double minmax = error({*low, *high});
      double least = minmax;
      for (int i = 0; i <= 300; ++i)
        for (int k = 0; k <= 12; ++k) {
          const double inner = 1.02 - 0.001 * i, outer = 0.98 + 0.01 * k / 2;
          const Range r =
              sign > 0 ? Range{*low * inner, *high * outer} : Range{*low * outer, *high * inner};
          least = std::min(least, error(r));
        }
      CHECK(error(range(Calibrator::kMse, values, kU8)) <= least * 1.03);
      CHECK(error(range(Calibrator::kEntropy, values, kU8)) <= minmax * 2);
    }
}

TEST_CASE("mse: never worse than the other calibrators in expectation") {
  for (const auto& d : distributions(20000)) {
    const auto& name = d.first;
    const auto& values = d.second;
    const Summary s = of(values);
    for (const QuantScheme& scheme :
         {kU8, kU4, kS8Symmetric, QuantScheme{0, 65535, false, 0, 65535}}) {
      const double mse = expected_mse(s, *calibrate(Calibrator::kMse, s, scheme), scheme);
      for (Calibrator other : kAll) {
        CAPTURE(name);
        CAPTURE(other);
        CHECK(mse <= expected_mse(s, *calibrate(other, s, scheme), scheme) * (1 + 1e-6) + 1e-18);
      }
    }
  }
}

TEST_CASE(
    "every calibrator: zero inside, within the observed values when asymmetric, deterministic") {
  for (const auto& d : distributions(3000)) {
    const auto& name = d.first;
    const auto& values = d.second;
    const Summary s = of(values);
    for (Calibrator c : kAll) {
      for (const QuantScheme& scheme : {kU8, kS8, kS8Symmetric}) {
        CAPTURE(name);
        CAPTURE(c);
        const Range r = *calibrate(c, s, scheme);
        CHECK(r.min <= 0);
        CHECK(r.max >= 0);
        CHECK(r.min < r.max);
        if (scheme.symmetric) CHECK(r.min == -r.max);
        if (!scheme.symmetric && c != Calibrator::kMse) {
          CHECK(r.min >= std::min(0.0f, s.min()));
          CHECK(r.max <= std::max(0.0f, s.max()));
        }
        // After a Relu the zero point has to be qmin.
        if (!scheme.symmetric && s.min() >= 0) CHECK(grid_of(r, scheme).zero_point == scheme.qmin);
        if (!scheme.symmetric && s.max() <= 0) CHECK(grid_of(r, scheme).zero_point == scheme.qmax);
        CHECK(*calibrate(c, s, scheme) == r);
      }
    }
  }
}

TEST_CASE("percentile: numpy's values, to within a bucket") {
  std::vector<float> x;
  for (int i = 0; i < 10007; ++i) {
    const auto u = static_cast<float>(i * 7919LL % 10007 / 10007.0);
    x.push_back(5.0f * u * u * u - 0.5f);
  }
  // numpy.percentile(x, [(100 - p) / 2, (100 + p) / 2]) and numpy.percentile(abs(x), p)
  struct Case {
    double p, low, high, magnitude;
  };
  for (const Case& c :
       {Case{99.99, -0.5, 4.49775126, 4.49700170}, Case{99.9, -0.5, 4.4910076, 4.48352060},
        Case{99, -0.49999937, 4.4238976, 4.35004098},
        Case{90, -0.49937518, 3.78558993, 3.14390731}}) {
    const Range r = range(Calibrator::kPercentile, x, kU8, c.p);
    CAPTURE(c.p);
    CHECK(r.min == doctest::Approx(c.low).epsilon(1.0 / 256));
    CHECK(r.max == doctest::Approx(c.high).epsilon(1.0 / 256));
    const Range s = range(Calibrator::kPercentile, x, kS8Symmetric, c.p);
    CHECK(s.max == doctest::Approx(c.magnitude).epsilon(1.0 / 256));
    CHECK(s.min == -s.max);
  }
  const Range all = range(Calibrator::kPercentile, x, kU8, 100);
  CHECK(all == range(Calibrator::kMinMax, x, kU8));
}

TEST_CASE("percentile: interpolates inside a bucket, counts zeros, ends at zero on an empty side") {
  // One bucket [1, 1 + 1/256) cut at its extrema; half of it.
  const std::vector<float> narrow = {1.0f, 1.001f, 1.002f, 1.003f};
  CHECK(range(Calibrator::kPercentile, narrow, kS8Symmetric, 50).max ==
        doctest::Approx(1.0015).epsilon(1e-6));
  std::vector<float> zeros(99, 0.0f);
  zeros.push_back(1);
  CHECK(range(Calibrator::kPercentile, zeros, kS8Symmetric, 99).max == 0);
  CHECK(range(Calibrator::kPercentile, zeros, kS8Symmetric, 99.5).max == 1);
  CHECK(range(Calibrator::kPercentile, narrow, kU8, 99).min == 0);
}

TEST_CASE("entropy: the limit is that of the recipe, written out") {
  // Migacz's loop over 2048 bins of |x|, on the same bins and smoothing; 16 groups rather than 128,
  // where rounding weighs enough for the limit to be well inside.
  std::mt19937 g(3);
  std::normal_distribution<float> normal;
  std::vector<float> x(50000);
  for (float& v : x) v = normal(g);
  double absmax = 0;
  for (float v : x) absmax = std::max(absmax, static_cast<double>(std::fabs(v)));
  constexpr int kBins = 2048, kGroups = 16;
  std::vector<double> h(kBins);
  for (float v : x)
    h[static_cast<size_t>(std::min<double>(kBins - 1, std::fabs(v) / absmax * kBins))] += 1;
  const auto divergence = [&](int end) {
    std::vector<double> p(h.begin(), h.begin() + end), q(static_cast<size_t>(end));
    for (int gr = 0; gr < kGroups; ++gr) {
      const int a = end * gr / kGroups, b = end * (gr + 1) / kGroups;
      double sum = 0, filled = 0;
      for (int i = a; i < b; ++i) {
        sum += h[static_cast<size_t>(i)];
        filled += h[static_cast<size_t>(i)] > 0;
      }
      for (int i = a; i < b; ++i)
        if (h[static_cast<size_t>(i)] > 0) q[static_cast<size_t>(i)] = sum / filled;
    }
    for (int i = end; i < kBins; ++i) p.back() += h[static_cast<size_t>(i)];
    double p_sum = 0, q_sum = 0, kl = 0;
    for (double v : p) p_sum += v;
    for (double v : q) q_sum += v;
    for (size_t i = 0; i < p.size(); ++i)
      if (p[i] > 0)
        kl += p[i] / p_sum * std::log(p[i] / p_sum / ((1 - 1e-4) * q[i] / q_sum + 1e-4 / end));
    return kl;
  };
  double least = std::numeric_limits<double>::infinity();
  for (int end = kGroups; end <= kBins; ++end) least = std::min(least, divergence(end));
  const double limit = range(Calibrator::kEntropy, x, {-16, 15, true, -16, 15}).max;
  const int end = static_cast<int>(std::lround(limit / absmax * kBins));
  REQUIRE(end >= kBins / 4);  // else the bins were cut anew and the two differ by design
  // The summary spreads its buckets over these bins, and the search is coarse to fine.
  CHECK(divergence(end) <= least * 1.06);
  CHECK(divergence(kBins) > least * 1.06);  // so that keeping everything would fail
}

TEST_CASE("entropy: a far outlier does not use up the bins") {
  std::mt19937 g(8);
  std::normal_distribution<float> normal;
  std::vector<float> x(100000);
  for (float& v : x) v = normal(g);
  const Range without = range(Calibrator::kEntropy, x, kU8);
  x[77] = 20000;
  const Range with = range(Calibrator::kEntropy, x, kU8);
  CHECK(with.max < 2 * without.max);
  CHECK(with.max > 0.4 * without.max);
  const Range symmetric = range(Calibrator::kEntropy, x, kS8Symmetric);
  CHECK(symmetric.max < 10);
  CHECK(symmetric.max > 1.5);
}

TEST_CASE("moving average: the mean of the first hundred samples, then it forgets") {
  Summary observed;
  std::vector<Extremes> samples;
  std::mt19937 g(9);
  std::normal_distribution<float> normal;
  for (int i = 0; i < 300; ++i) {
    samples.push_back({-std::fabs(normal(g)), 3 + std::fabs(normal(g))});
    observed.add(std::vector<float>{samples.back().min, samples.back().max});
  }
  const auto average = [&](size_t n, const QuantScheme& scheme, bool ort) {
    const auto r = calibrate(Calibrator::kMovingAverage, observed, scheme, {.ort_compat = ort},
                             std::span(samples).first(n));
    REQUIRE(r.ok());
    return *r;
  };
  double low = 0, high = 0;
  for (size_t i = 0; i < 300; ++i) {
    low += static_cast<double>(samples[i].min);
    high += static_cast<double>(samples[i].max);
    if (i == 99) {
      CHECK(average(100, kU8, false).min == doctest::Approx(low / 100).epsilon(1e-12));
      CHECK(average(100, kU8, false).max == doctest::Approx(high / 100).epsilon(1e-12));
    }
  }
  CHECK(average(300, kU8, true).min == doctest::Approx(low / 300).epsilon(1e-12));
  CHECK(average(300, kU8, false).min != doctest::Approx(low / 300).epsilon(1e-6));
  // One more sample moves the average by a hundredth of the distance.
  const Range before = average(200, kU8, false), after = average(201, kU8, false);
  CHECK(after.max ==
        doctest::Approx(before.max + 0.01 * (static_cast<double>(samples[200].max) - before.max))
            .epsilon(1e-12));
  CHECK(average(300, kS8Symmetric, false).min == -average(300, kU8, false).max);
  // Zero lies inside: samples that are all above it.
  const std::vector<Extremes> above = {{1, 2}, {2, 4}};
  CHECK(*calibrate(Calibrator::kMovingAverage, observed, kU8, {}, above) == Range{0, 3});
  CHECK(calibrate(Calibrator::kMovingAverage, observed, kU8).error().message ==
        "the moving average needs the extremes of each sample, which were not kept");
}

TEST_CASE("percentile as onnxruntime's: the left edge of a bin of 2048, on both sides") {
  for (const auto& [name, values] : distributions(20000)) {
    CAPTURE(name);
    float top = 0, bottom = std::numeric_limits<float>::max();
    for (const float x : values) {
      top = std::max(top, std::fabs(x));
      bottom = std::min(bottom, std::fabs(x));
    }
    const double width = (static_cast<double>(top) - static_cast<double>(bottom)) / 2048;
    if (width == 0) continue;
    std::vector<double> bins(2048);
    for (const float x : values)
      bins[static_cast<size_t>(std::min(
          2047.0, (static_cast<double>(std::fabs(x)) - static_cast<double>(bottom)) / width))] += 1;
    // Not those that fall between two values exactly: either is right.
    for (const double p : {98.7654, 99.8765, 99.999}) {
      size_t i = 0;
      for (double sum = bins[0]; sum < p / 100 * static_cast<double>(values.size()) - 1e-9;
           sum += bins[i])
        ++i;
      const double expected = static_cast<double>(bottom) + width * static_cast<double>(i);
      const auto [low, high] = std::minmax_element(values.begin(), values.end());
      const auto r = calibrate(Calibrator::kPercentile, of(values), kU8,
                               {.percentile = p, .ort_compat = true});
      REQUIRE(r.ok());
      // A bin off where the percentile lies on an edge, and what a bucket hides.
      const double slack = 1.01 * width + expected / 256;
      CHECK(std::fabs(r->max - std::max(0.0, std::min(expected, static_cast<double>(*high)))) <=
            slack);
      CHECK(std::fabs(r->min - std::min(0.0, std::max(-expected, static_cast<double>(*low)))) <=
            slack);
    }
    // The default entropy search of onnxruntime has one candidate: everything.
    CHECK(*calibrate(Calibrator::kEntropy, of(values), kU8, {.ort_compat = true}) ==
          range(Calibrator::kMinMax, values, kU8));
  }
  const std::vector<float> one = {2, 2, 2};
  CHECK(*calibrate(Calibrator::kPercentile, of(one), kU8, {.ort_compat = true}) == Range{0, 2});
}

TEST_CASE("calibrators: what they refuse") {
  const QuantScheme s = kU8;
  const auto code = [&](const Summary& summary, Calibrator c, double p = 99) {
    const auto r = calibrate(c, summary, s, {.percentile = p});
    REQUIRE_FALSE(r.ok());
    return r.error().code;
  };
  for (Calibrator c : kAll) {
    CHECK(code(Summary(), c) == ErrorCode::kBadData);
    CHECK(code(of(std::vector<float>{1, std::numeric_limits<float>::infinity()}), c) ==
          ErrorCode::kNotFinite);
  }
  CHECK(code(of(std::vector<float>{1}, Summary::Mode::kMinMax), Calibrator::kMse) ==
        ErrorCode::kBadData);
  CHECK(calibrate(Calibrator::kMinMax, of(std::vector<float>{1}, Summary::Mode::kMinMax), s).ok());
  for (double p : {0.0, -1.0, 100.1, std::nan("")})
    CHECK(code(of(std::vector<float>{1}), Calibrator::kPercentile, p) == ErrorCode::kUsage);
  CHECK(calibrate(Calibrator::kMinMax, of(std::vector<float>{std::nanf("")}), s).error().message ==
        "1 NaN and 0 infinite among 1 values, expected finite ones only");
  REQUIRE(parse_calibrator("mse").ok());
  CHECK(parse_calibrator("mae").error().message ==
        "calibrator 'mae' is unknown, expected one of minmax, moving-average, percentile, entropy, "
        "mse");
}

TEST_CASE("calibrators: all zeros, single values, subnormals and the largest floats") {
  for (Calibrator c : kAll) {
    CAPTURE(c);
    for (const QuantScheme& s : {kU8, kS8Symmetric}) {
      CHECK(range(c, std::vector<float>{0, -0.0f}, s) == Range{0, 0});
      for (float v : {1.0f, -3.0f, 1e-42f, 3e38f, -3e38f}) {
        CAPTURE(v);
        const Range r = range(c, std::vector<float>{v}, s);
        CHECK(std::isfinite(r.min));
        CHECK(std::isfinite(r.max));
        CHECK(std::max(r.max, -r.min) == doctest::Approx(std::fabs(v)).epsilon(0.01));
      }
      const Range both = range(c, std::vector<float>{-3.4e38f, 3.4e38f}, s);
      CHECK(std::isfinite(both.max - both.min));
    }
  }
}

}  // namespace
}  // namespace onnxtool
