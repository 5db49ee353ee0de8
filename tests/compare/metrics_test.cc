// Metrics against the definitions written out, adversarial values, and verdicts that may never
// pass.

#include "calib/compare/metrics.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "calib/compare/energy.h"
#include "libopt/support/half.h"

namespace onnxtool {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfF = std::numeric_limits<float>::infinity();

template <class T>
struct Tensor {
  std::vector<T> values;
  std::vector<int64_t> dims;
  ConstView view() const {
    return {dtype_of<T>, dims, values.data(), static_cast<int64_t>(values.size())};
  }
};
template <class T = float>
Tensor<T> row(std::vector<T> v) {
  const auto n = static_cast<int64_t>(v.size());
  return {std::move(v), {1, n}};
}

template <class A, class B>
SampleMetrics compare(const Tensor<A>& r, const Tensor<B>& t, MetricOptions o = {}) {
  const auto m = compare_sample(r.view(), t.view(), o);
  REQUIRE(m.ok());
  return *m;
}
template <class A, class B>
OutputMetrics output(const Tensor<A>& r, const Tensor<B>& t, MetricOptions o = {}) {
  OutputMetrics out(o);
  out.add(0, compare(r, t, o));
  return out;
}

TEST_CASE("metrics: classes lie along axis 1 where nothing lies behind it") {
  Tensor<float> r = row({1, 2, 3}), t = row({1, 3, 2});
  for (const auto& dims : {std::vector<int64_t>{1, 3}, {1, 3, 1, 1}, {3, 1, 1}, {1, 1, 3}}) {
    r.dims = t.dims = dims;
    const SampleMetrics m = compare(r, t);
    const bool ranked = dims[0] == 1;
    CHECK(m.rows == (ranked ? 1 : 0));
    CHECK(m.argmax_flips == (ranked ? 1 : 0));
  }
}

TEST_CASE("metrics: the definitions, by hand") {
  const auto r = row({1, -2, 0, 4}), t = row({1.5f, -2, 0.25f, 3});
  const OutputMetrics m = output(r, t);
  // e = 0.5, 0, 0.25, -1; sum e^2 = 1.3125; sum r^2 = 21; sum t^2 = 15.3125; r.t = 17.5
  CHECK(*m.value(Metric::kMaxAbs) == 1);
  CHECK(*m.value(Metric::kMeanAbs) == 1.75 / 4);
  CHECK(*m.value(Metric::kRmse) == std::sqrt(1.3125 / 4));
  CHECK(*m.value(Metric::kSqnr) == doctest::Approx(10 * std::log10(21 / 1.3125)));
  CHECK(*m.value(Metric::kSqnrMin) == *m.value(Metric::kSqnr));
  CHECK(*m.value(Metric::kPsnr) == doctest::Approx(20 * std::log10(4 / std::sqrt(1.3125 / 4))));
  CHECK(*m.value(Metric::kCosine) == doctest::Approx(17.5 / std::sqrt(21 * 15.3125)));
  CHECK(*m.value(Metric::kGain) == doctest::Approx(std::sqrt(15.3125 / 21)));
  // The floor is 1e-6 of the largest |r|: 0.25 / 4e-6.
  CHECK(*m.value(Metric::kMaxRel) == doctest::Approx(0.25 / 4e-6));
  CHECK(*m.value(Metric::kRelP50) == doctest::Approx(0.25).epsilon(0.01));
  CHECK(*m.value(Metric::kMismatches) == 0.75);
  CHECK(*m.value(Metric::kOutside) == 0.75);
  CHECK(m.total().all.max_abs_index == 3);
  CHECK(m.total().all.max_rel_index == 2);
  CHECK(*m.value(Metric::kArgmax) == 1);
}

TEST_CASE("metrics: 8-, 4- and 2-bit elements are compared as the numbers that they stand for") {
  const std::vector<int64_t> dims = {3};
  const auto compared = [&](DataType of_r, std::vector<uint8_t> r, DataType of_t,
                            std::vector<uint8_t> t) {
    const auto m = compare_sample({of_r, dims, r.data(), 3}, {of_t, dims, t.data(), 3},
                                  {.allow_dtype_change = true});
    REQUIRE_MESSAGE(m.ok(), name(of_r));
    OutputMetrics out;
    out.add(0, *m);
    return out;
  };
  const auto alike = [&](DataType type, std::vector<uint8_t> r, std::vector<uint8_t> t) {
    return compared(type, std::move(r), type, std::move(t));
  };
  // 1, -1, 2 against 1.125, -1, 2: one step of the mantissa's three bits.
  const auto fp8 = alike(DataType::kFloat8E4M3FN, {0x38, 0xb8, 0x40}, {0x39, 0xb8, 0x40});
  CHECK(*fp8.value(Metric::kMaxAbs) == 0.125);
  CHECK(*fp8.value(Metric::kUlp) == 1);
  CHECK(*fp8.value(Metric::kSqnr) == doctest::Approx(10 * std::log10(6 / 0.015625)));
  CHECK(alike(DataType::kFloat8E4M3FN, {0x01, 0, 0}, {0x81, 0x80, 0}).value(Metric::kUlp) == 2.0);
  CHECK(
      alike(DataType::kFloat8E5M2, {0x3c, 0x3c, 0x7c}, {0x3c, 0x40, 0x7c}).value(Metric::kMaxAbs) ==
      1.0);
  // NaN on one side is seen.
  CHECK(alike(DataType::kFloat8E4M3FN, {0x38, 0, 0}, {0x7f, 0, 0}).judge(Metric::kMaxAbs, 1e9) ==
        Verdict::kFail);
  // Powers of two: 1, 2, 4 against 1, 2, 8.
  const auto scales = alike(DataType::kFloat8E8M0, {127, 128, 129}, {127, 128, 130});
  CHECK(*scales.value(Metric::kMaxAbs) == 4);
  CHECK(*scales.value(Metric::kUlp) == 1);
  // Packed, low nibble first: 0.5, 6, -6 against 0.5, 4, -6.
  const auto fp4 = alike(DataType::kFloat4E2M1, {0x71, 0x0f}, {0x61, 0x0f});
  CHECK(*fp4.value(Metric::kMaxAbs) == 2);
  CHECK(*fp4.value(Metric::kUlp) == 1);
  // Against float: 0.5, 6, -6.
  const std::vector<float> plain = {0.5f, 6, -6};
  std::vector<uint8_t> bytes(12);
  std::memcpy(bytes.data(), plain.data(), 12);
  CHECK(compared(DataType::kFloat, bytes, DataType::kFloat4E2M1, {0x71, 0x0f})
            .value(Metric::kMaxAbs) == 0.0);
  // Integers: -8, 7, -1 against -8, 7, 1; signs count, and padding does not.
  const auto int4 = alike(DataType::kInt4, {0x78, 0x0f}, {0x78, 0xf1});
  CHECK(*int4.value(Metric::kMaxAbs) == 2);
  CHECK(*int4.value(Metric::kMismatches) == doctest::Approx(1.0 / 3));
  CHECK_FALSE(int4.value(Metric::kSqnr).has_value());
  CHECK(*alike(DataType::kUint4, {0x78, 0x0f}, {0x78, 0x01}).value(Metric::kMaxAbs) == 14);
  CHECK(*alike(DataType::kInt2, {0x36}, {0x06}).value(Metric::kMaxAbs) == 1);
  CHECK(*alike(DataType::kUint2, {0x36}, {0x06}).value(Metric::kMaxAbs) == 3);
}

TEST_CASE("metrics: the band is numpy's, or either-or when asked") {
  // |e| = 1.5e-3 at r = 1: atol 1e-3 + rtol 1e-3 covers it; either-or does not.
  const auto r = row({1.0f}), t = row({1.0015f});
  MetricOptions o{.atol = 1e-3, .rtol = 1e-3};
  CHECK(output(r, t, o).judge(Metric::kOutside, 0) == Verdict::kPass);
  // Not symmetric: the reference scales the band.
  CHECK(output(row({0.0f}), row({0.01f}), {.atol = 0, .rtol = 1}).judge(Metric::kOutside, 0) ==
        Verdict::kFail);
  CHECK(output(row({0.01f}), row({0.0f}), {.atol = 0, .rtol = 1}).judge(Metric::kOutside, 0) ==
        Verdict::kPass);
  CHECK(output(row({1, 1, 1, 2}), row({1, 1, 1, 1})).judge(Metric::kOutside, 0.25) ==
        Verdict::kPass);
  CHECK(output(row({1, 1, 1, 2}), row({1, 1, 1, 1})).judge(Metric::kOutside, 0.24) ==
        Verdict::kFail);
}

TEST_CASE("metrics: identical, both zero, reference zero") {
  const OutputMetrics same = output(row({1, 2}), row({1, 2}));
  CHECK(same.total().all.identical);
  CHECK(*same.value(Metric::kSqnr) == kInf);
  CHECK(*same.value(Metric::kPsnr) == kInf);
  CHECK(same.total().per_sample.identical == 1);
  CHECK(same.total().per_sample.worst == -1);
  for (Metric metric : all_metrics()) {
    CAPTURE(info(metric).name);
    if (metric == Metric::kKl || metric == Metric::kKlMax) continue;
    CHECK(same.judge(metric, info(metric).higher_is_better ? 1 : 0) == Verdict::kPass);
  }
  const OutputMetrics zeros = output(row({0, 0}), row({0, -0.0f}));
  CHECK(zeros.total().all.identical);
  CHECK(*zeros.value(Metric::kCosine) == 1);
  CHECK(*zeros.value(Metric::kGain) == 1);
  CHECK(*zeros.value(Metric::kUlp) == 0);
  const OutputMetrics lost = output(row({0, 0}), row({0, 1}));
  CHECK(*lost.value(Metric::kSqnr) == -kInf);
  CHECK(*lost.value(Metric::kCosine) == 0);
  CHECK(*lost.value(Metric::kGain) == kInf);
  CHECK(*lost.value(Metric::kMaxRel) == kInf);
  CHECK(lost.judge(Metric::kSqnr, -1e9) == Verdict::kFail);
  CHECK(lost.total().per_sample.undefined == 1);
  CHECK(lost.total().per_sample.worst == 0);
}

TEST_CASE("metrics: NaN and infinities") {
  const auto m = compare(row({kNan, 1, kNan, kInfF, -kInfF, kInfF, 2}),
                         row({1, kNan, kNan, kInfF, kInfF, 3, 2}));
  CHECK(m.nan_reference_only == 1);
  CHECK(m.nan_test_only == 1);
  CHECK(m.nan_both == 1);
  CHECK(m.infinity_equal == 1);
  CHECK(m.infinity_mismatches == 2);
  CHECK(m.compared == 1);
  CHECK(m.non_finite_mismatches == 4);
  CHECK(m.mismatches == 4);
  CHECK_FALSE(m.identical);
  CHECK(std::isnan(m.sqnr()));

  // A NaN on one side fails every gate, whatever its limit.
  const OutputMetrics one_sided = output(row({1, 2}), row({1, kNan}));
  for (Metric metric : all_metrics())
    CHECK(one_sided.judge(metric, info(metric).higher_is_better ? -1e300 : 1e300) ==
          Verdict::kFail);
  CHECK(one_sided.judge(Metric::kOutside, 1.0) == Verdict::kFail);
  CHECK(output(row({1, kInfF}), row({1, -kInfF})).judge(Metric::kMaxAbs, 1e300) == Verdict::kFail);
  CHECK(output(row({1, kNan}), row({1, kNan})).judge(Metric::kMaxAbs, 0) == Verdict::kPass);
  CHECK(output(row({-kInfF, 1}), row({-kInfF, 1})).judge(Metric::kMaxAbs, 0) == Verdict::kPass);
  // NaN limits are never met.
  CHECK(output(row({1}), row({1})).judge(Metric::kMaxAbs, kNan) == Verdict::kFail);
}

TEST_CASE("verdict: nothing compared is never a pass") {
  CHECK(OutputMetrics().judge(Metric::kSqnr, 0) == Verdict::kNone);
  CHECK(OutputMetrics().judge(Metric::kOutside, 0) == Verdict::kNone);
  CHECK_FALSE(OutputMetrics().value(Metric::kSqnr));
  CHECK(output(Tensor<float>{{}, {0, 4}}, Tensor<float>{{}, {0, 4}}).judge(Metric::kOutside, 0) ==
        Verdict::kNone);
  CHECK(output(row({kNan}), row({kNan})).judge(Metric::kOutside, 0) == Verdict::kNone);
  CHECK(output(row({kNan}), row({kNan})).judge(Metric::kMaxAbs, 1) == Verdict::kNone);
  // Not defined here: SQNR of integers, top-k of one class, KL not asked for.
  CHECK(output(row<int64_t>({1}), row<int64_t>({1})).judge(Metric::kSqnr, 0) == Verdict::kNone);
  CHECK(output(row({1}), row({1})).judge(Metric::kArgmax, 0) == Verdict::kNone);
  CHECK(output(row({1, 2}), row({1, 2})).judge(Metric::kKl, 1) == Verdict::kNone);
  CHECK(ClassAccuracy().judge_drop(100) == Verdict::kNone);
  CHECK_FALSE(ClassAccuracy().drop());

  CHECK(combine(Verdict::kPass, Verdict::kPass) == Verdict::kPass);
  CHECK(combine(Verdict::kPass, Verdict::kNone) == Verdict::kNone);
  CHECK(combine(Verdict::kFail, Verdict::kNone) == Verdict::kFail);

  OutputMetrics failed = output(row({1}), row({1}));
  failed.add_failure(1, "output is missing");
  CHECK(failed.judge(Metric::kMaxAbs, 1e300) == Verdict::kFail);
  CHECK(failed.judge(Metric::kOutside, 1) == Verdict::kFail);
}

TEST_CASE("metrics: ranks, ties to the lower index, flips apart from ties") {
  const auto ranks = [](std::vector<float> r, std::vector<float> t, int k = 2) {
    return compare(row(r), row(t), {.top_k = k});
  };
  SampleMetrics m = ranks({1, 3, 2}, {1, 2, 3});
  CHECK(m.argmax_flips == 1);
  CHECK(m.argmax_ties == 0);
  CHECK(m.topk_set_equal == 1);
  CHECK(m.topk_order_equal == 0);
  m = ranks({3, 3, 1}, {3, 3.5f, 1});  // the reference could not tell them apart
  CHECK(m.argmax_ties == 1);
  CHECK(m.argmax_flips == 0);
  m = ranks({3, 3.1f, 1}, {3, 3, 1});  // the test cannot
  CHECK(m.argmax_ties == 1);
  m = ranks({3, 3, 3}, {3, 3, 3});
  CHECK(m.argmax_equal == 1);
  CHECK(m.topk_order_equal == 1);
  m = ranks({kNan, 1, 0}, {kNan, 2, 0});
  CHECK(m.argmax_equal == 1);
  m = ranks({1, 2}, {1, 2}, 5);  // k beyond the classes
  CHECK(m.topk_set_equal == 1);
  m = ranks({1, 2, 3}, {3, 2, 1}, 5);  // all classes would always agree
  CHECK(m.topk_set_equal == 0);
  const Tensor<float> r{{1, 5, 2, 4}, {2, 2}}, t{{3, 5, 2, 4}, {2, 2}};
  CHECK(compare(r, t).rows == 2);
  CHECK(compare(r, t, {.top_k = 0}).rows == 0);
}

TEST_CASE("metrics: KL of softmaxes") {
  // softmax(0, ln 3) = 1/4, 3/4; softmax(0, 0) = 1/2, 1/2.
  const auto m = compare(row({0.0f, std::log(3.0f)}), row({7, 7}), {.kl = true});
  CHECK(m.kl_rows == 1);
  CHECK(m.kl_sum == doctest::Approx(0.25 * std::log(0.5) + 0.75 * std::log(1.5)));
  CHECK(compare(row({1, 2, 3}), row({11, 12, 13}), {.kl = true}).kl_sum ==
        doctest::Approx(0).epsilon(1e-9));
  // The floor of q bounds it.
  CHECK(compare(row({0, 1000}), row({1000, 0}), {.kl = true}).kl_sum ==
        doctest::Approx(-std::log(1e-12)));
  CHECK(compare(row({-kInfF, 0}), row({-kInfF, 0}), {.kl = true}).kl_sum == 0);
  CHECK(compare(row({kNan, 0}), row({kNan, 0}), {.kl = true}).kl_rows == 0);
}

TEST_CASE("metrics: ULP counts floats of the narrower type") {
  CHECK(compare(row({1.0f}), row({std::nextafter(1.0f, 2.0f)})).max_ulp == 1);
  CHECK(compare(row({-1e-45f}), row({1e-45f})).max_ulp == 2);
  const Tensor<Half> h = row<Half>({Half(1.0f)});
  CHECK(compare(row({1.0f + 0x1p-10f}), h, {.allow_dtype_change = true}).max_ulp == 1);
  CHECK(compare(row<double>({-1.7e308}), row<double>({1.7e308})).max_ulp > uint64_t{1} << 63);
}

TEST_CASE("metrics: integers, bool and strings are compared exactly") {
  const int64_t big = int64_t{1} << 60;
  SampleMetrics m = compare(row<int64_t>({big, 1, -5}), row<int64_t>({big + 1, 1, 5}));
  CHECK(m.mismatches == 2);
  CHECK(m.max_abs == 10);
  CHECK(m.max_abs_index == 2);
  m = compare(row<int64_t>({std::numeric_limits<int64_t>::min()}),
              row<int64_t>({std::numeric_limits<int64_t>::max()}));
  CHECK(m.max_abs == doctest::Approx(0x1p64));
  const OutputMetrics q = output(row<uint8_t>({1, 2, 255}), row<uint8_t>({1, 3, 255}));
  CHECK(q.judge(Metric::kMaxAbs, 1) == Verdict::kPass);
  CHECK(q.judge(Metric::kOutside, 0) == Verdict::kFail);
  CHECK(*q.value(Metric::kMismatches) == doctest::Approx(1.0 / 3));

  const std::vector<std::string> a = {"x", "y"}, b = {"x", "z"};
  const std::vector<int64_t> dims = {2};
  const auto s = compare_sample({DataType::kString, dims, a.data(), 2},
                                {DataType::kString, dims, b.data(), 2}, {});
  REQUIRE(s.ok());
  CHECK(s->mismatches == 1);
  OutputMetrics strings;
  strings.add(0, *s);
  CHECK(strings.judge(Metric::kOutside, 0) == Verdict::kFail);
  CHECK(strings.judge(Metric::kMaxAbs, 1e300) == Verdict::kNone);
}

TEST_CASE("metrics: shapes and types that differ are errors with both") {
  const auto message = [](const ConstView& r, const ConstView& t) {
    const auto m = compare_sample(r, t, {});
    REQUIRE_FALSE(m.ok());
    return m.error().message;
  };
  const Tensor<float> a{{1, 2}, {2}}, b{{1, 2}, {1, 2}};
  CHECK(message(a.view(), b.view()) == "shape is [1, 2], but [2] in the reference");
  const Tensor<double> d{{1, 2}, {2}};
  CHECK(message(a.view(), d.view()) == "type is double, but float in the reference");
  CHECK(message(row<int32_t>({1}).view(), row<int64_t>({1}).view()) ==
        "type is int64, but int32 in the reference");
  const auto bytes = row<uint8_t>({1});
  ConstView complex = bytes.view();
  complex.dtype = DataType::kComplex64;
  CHECK(message(complex, complex) == "no comparison of type complex64");
}

TEST_CASE("metrics: samples fold in order of their ids; the worst one is named") {
  std::mt19937 g(1);
  std::normal_distribution<float> normal;
  std::vector<SampleMetrics> samples;
  for (int i = 0; i < 9; ++i) {
    std::vector<float> r(3001), t(3001);
    for (size_t k = 0; k < r.size(); ++k) {
      r[k] = normal(g);
      t[k] = r[k] + (i == 4 ? 0.0f : 0.01f * (i == 6 ? 10.0f : 1.0f) * normal(g));
    }
    samples.push_back(compare(row(r), row(t)));
  }
  OutputMetrics up, down;
  for (int i = 0; i < 9; ++i) up.add(i, samples[static_cast<size_t>(i)]);
  for (int i = 8; i >= 0; --i) down.add(i, samples[static_cast<size_t>(i)]);
  const auto a = up.total(), b = down.total();
  CHECK(a.all.sum_e2 == b.all.sum_e2);  // bit for bit
  CHECK(a.all.sum_r2 == b.all.sum_r2);
  CHECK(a.per_sample.mean == b.per_sample.mean);
  CHECK(a.all.relative == b.all.relative);
  CHECK(a.per_sample.worst == 6);
  CHECK(a.per_sample.identical == 1);
  CHECK(a.max_abs_sample == 6);
  CHECK(a.per_sample.min == doctest::Approx(20).epsilon(0.02));
  CHECK(a.per_sample.median == doctest::Approx(40).epsilon(0.02));
  CHECK(a.per_sample.p1 < a.per_sample.p5);
  CHECK(a.all.elements == 9 * 3001);
}

TEST_CASE("metrics: sums do not drift over many elements") {
  // A million errors of 1e-3 on values of 1e4: single precision would lose the errors, a plain
  // double sum of squares the last digits.
  Tensor<double> r{{}, {1000000}}, t = r;
  long double expected = 0;
  for (int i = 0; i < 1000000; ++i) {
    r.values.push_back(1e4 + i * 1e-6);
    t.values.push_back(r.values.back() + 1e-3);
    const long double e = static_cast<long double>(t.values.back()) - r.values.back();
    expected += e * e;
  }
  const SampleMetrics m = compare(r, t, {.top_k = 0});
  CHECK(std::fabs(static_cast<double>((m.sum_e2.number() - expected) / expected)) < 1e-14);
}

TEST_CASE("metrics: numbers whose squares are no doubles") {
  const OutputMetrics tiny = output(row<double>({1e-170, 0}), row<double>({7e-170, 0}));
  CHECK_FALSE(tiny.total().all.identical);
  CHECK(*tiny.value(Metric::kSqnr) == doctest::Approx(-20 * std::log10(6)));
  CHECK(*tiny.value(Metric::kGain) == doctest::Approx(7));
  CHECK(*tiny.value(Metric::kRmse) == doctest::Approx(6e-170 / std::sqrt(2)).epsilon(1e-9));
  CHECK(*tiny.value(Metric::kPsnr) == doctest::Approx(20 * std::log10(std::sqrt(2) / 6)));
  CHECK(tiny.judge(Metric::kSqnr, 20) == Verdict::kFail);
  // The least there is, beside numbers of any size.
  const auto least = compare(row<double>({1, 0, 1e300}), row<double>({1, 5e-324, 1e300}));
  CHECK(least.sqnr() > 1e4);
  CHECK(least.sqnr() < kInf);

  const OutputMetrics huge = output(row<double>({1e200, 0}), row<double>({1e198, 1e200}));
  CHECK(*huge.value(Metric::kCosine) == doctest::Approx(0.01).epsilon(1e-3));
  CHECK(*huge.value(Metric::kSqnr) == doctest::Approx(-2.967).epsilon(1e-3));
  const OutputMetrics apart = output(row<double>({-1.7e308}), row<double>({1.7e308}));
  CHECK(*apart.value(Metric::kSqnr) == doctest::Approx(-20 * std::log10(2)));
  CHECK(*apart.value(Metric::kMaxAbs) == kInf);
  CHECK(apart.judge(Metric::kMaxAbs, 1e308) == Verdict::kFail);
  CHECK(*apart.value(Metric::kCosine) == -1);

  // Samples of either size, in one sum.
  OutputMetrics both;
  both.add(0, compare(row<double>({1e-170}), row<double>({7e-170})));
  both.add(1, compare(row<double>({1e200}), row<double>({1.1e200})));
  both.add(2, compare(row<double>({3}), row<double>({4})));
  CHECK(*both.value(Metric::kSqnr) == doctest::Approx(20));
  CHECK(both.total().per_sample.identical == 0);
}

TEST_CASE("energy: numbers whose squares are no doubles") {
  const auto db = [](std::vector<double> r, std::vector<double> t) {
    return energy_of(row<double>(std::move(r)).view(), row<double>(std::move(t)).view()).sqnr();
  };
  CHECK(db({1e-170}, {7e-170}) == doctest::Approx(-20 * std::log10(6)));
  CHECK(db({1e200}, {3e200}) == doctest::Approx(-20 * std::log10(2)));
  CHECK(db({-1.7e308}, {1.7e308}) == doctest::Approx(-20 * std::log10(2)));
  CHECK(db({1e200}, {1e200}) == kInf);
  CHECK(db({0, 2}, {0, 1}) == doctest::Approx(20 * std::log10(2)));
  CHECK(db({kNan, 2}, {kNan, 2}) == kInf);
  CHECK(db({kInf, 2}, {1, 2}) == -kInf);
  CHECK(std::isnan(db({kNan}, {kNan})));
  CHECK(std::isnan(db({1}, {1, 2})));
}

TEST_CASE("accuracy: right answers of both sides, lost and won images") {
  ClassAccuracy a;
  const auto scores = [](std::vector<float> v) {
    return Tensor<float>{v, {1, static_cast<int64_t>(v.size()), 1, 1}};
  };
  REQUIRE(a.add(3, scores({0, 1}).view(), scores({1, 0}).view(), 1).ok());  // lost
  REQUIRE(a.add(1, scores({0, 1}).view(), scores({0, 1}).view(), 1).ok());  // both right
  REQUIRE(
      a.add(2, scores({0, 1}).view(), scores({1, 1}).view(), 0).ok());  // won: the tie goes to 0
  REQUIRE(
      a.add(0, scores({0, kNan}).view(), scores({0, 1}).view(), 1).ok());  // won: NaN never wins
  CHECK(a.images() == 4);
  CHECK(a.reference_correct() == 2);
  CHECK(a.test_correct() == 3);
  CHECK(a.lost() == std::vector<int64_t>{3});
  CHECK(a.won() == std::vector<int64_t>{0, 2});
  CHECK(*a.drop() == -25);
  CHECK(a.judge_drop(0) == Verdict::kPass);
  CHECK(a.judge_drop(-30) == Verdict::kFail);
  CHECK(a.add(9, scores({0, 1}).view(), scores({0, 1}).view(), 2).error().message ==
        "label is 2, but the reference has 2 classes");
  const Tensor<float> batch{{1, 2, 3, 4}, {2, 2}};
  CHECK(a.add(9, batch.view(), batch.view(), 0).error().message ==
        "reference scores are float[2, 2], expected floats with one extent above 1");
}

TEST_CASE("metrics: names are found, each has its direction") {
  for (Metric m : all_metrics()) CHECK(find_metric(info(m).name) == m);
  CHECK_FALSE(find_metric("psnrr"));
  CHECK(info(Metric::kSqnr).higher_is_better);
  CHECK_FALSE(info(Metric::kMaxAbs).higher_is_better);
  CHECK(info(Metric::kOutside).name == "outside");
  CHECK(output(row({1, 0}), row({2, 0})).judge(Metric::kGain, 0.5) == Verdict::kFail);
  CHECK(output(row({1, 0}), row({1.5f, 0})).judge(Metric::kGain, 0.5) == Verdict::kPass);
}

}  // namespace
}  // namespace onnxtool
