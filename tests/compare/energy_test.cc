// Signal and error of tensors, in every type that layers have.
#include "calib/compare/energy.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "calib/compare/energy_sums.h"
#include "libopt/support/cpu_level.h"
#include "libopt/support/half.h"

namespace onnxtool {
namespace {

struct Pairs {
  std::vector<float> r, t;
};
Pairs random_pairs(size_t count) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0.0f, 3.0f);
  Pairs p;
  for (size_t i = 0; i < count; ++i) {
    p.r.push_back(normal(random));
    p.t.push_back(p.r.back() + 0.01f * normal(random));
  }
  return p;
}

template <class T>
ConstView row_of(const std::vector<T>& values, DataType type, const int64_t (&dims)[1]) {
  return {type, dims, values.data(), static_cast<int64_t>(values.size())};
}

TEST_CASE("energies are the same bits at every level") {
#if defined(__x86_64__)
  for (const size_t count : {0, 1, 7, 8, 9, 2048, 2051}) {
    const Pairs p = random_pairs(count);
    const std::vector<double> r(p.r.begin(), p.r.end()), t(p.t.begin(), p.t.end());
    const auto n = static_cast<int64_t>(count);
    PlainSums expected, expected_doubles;
    REQUIRE(kEnergySumsBaseline.floats(p.r.data(), p.t.data(), n, expected));
    REQUIRE(kEnergySumsBaseline.doubles(r.data(), t.data(), n, expected_doubles));
    const auto compare = [&](const EnergySums& level) {
      PlainSums floats, doubles;
      REQUIRE(level.floats(p.r.data(), p.t.data(), n, floats));
      REQUIRE(level.doubles(r.data(), t.data(), n, doubles));
      CHECK(std::memcmp(&floats, &expected, sizeof floats) == 0);
      CHECK(std::memcmp(&doubles, &expected_doubles, sizeof doubles) == 0);
    };
    if (cpu_level() >= CpuLevel::kAvx2) compare(kEnergySumsAvx2);
    if (cpu_level() >= CpuLevel::kAvx512) compare(kEnergySumsAvx512);
    CHECK(std::memcmp(&expected, &expected_doubles, sizeof expected) == 0);
  }
#endif
}

TEST_CASE("a stretch with a number that is not finite adds nothing") {
  for (const float bad :
       {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
        std::numeric_limits<float>::quiet_NaN()})
    for (const size_t at : {0u, 5u, 15u, 16u, 18u})
      for (const bool in_reference : {false, true}) {
        Pairs p = random_pairs(19);
        (in_reference ? p.r : p.t)[at] = bad;
        PlainSums sums;
        CHECK(!energy_sums().floats(p.r.data(), p.t.data(), 19, sums));
        CHECK(sums.signal == 0);
        CHECK(sums.max_error == 0);
      }
}

TEST_CASE("energies of every pair of types are those of their numbers") {
  constexpr size_t kCount = 5000;  // more than a block
  const int64_t dims[] = {kCount};
  const Pairs p = random_pairs(kCount);
  std::vector<double> doubles(p.t.begin(), p.t.end());
  std::vector<Half> halves;
  std::vector<Bfloat16> short_floats;
  std::vector<uint8_t> codes;
  std::vector<int8_t> signed_codes;
  const CodeParams how{0.125, 100}, signed_how{0.125, -28};
  std::vector<double> of_half, of_bfloat16, of_codes;
  for (const float x : p.t) {
    halves.push_back(Half(x));
    of_half.push_back(static_cast<float>(halves.back()));
    short_floats.push_back(Bfloat16(x));
    of_bfloat16.push_back(static_cast<float>(short_floats.back()));
    const double code = std::clamp(std::nearbyint(x / 0.125) + 100, 0.0, 255.0);
    codes.push_back(static_cast<uint8_t>(code));
    signed_codes.push_back(static_cast<int8_t>(static_cast<int>(code) - 128));
    of_codes.push_back((code - 100) * 0.125);
  }
  const auto check = [&](const ConstView& test, const std::vector<double>& numbers,
                         const CodeParams& params) {
    double signal = 0, error = 0, most = 0;
    for (size_t i = 0; i < kCount; ++i) {
      const double r = p.r[i], d = numbers[i] - r;
      signal += r * r;
      error += d * d;
      most = std::max(most, std::fabs(d));
    }
    const Energy e = energy_of(row_of(p.r, DataType::kFloat, dims), test, params);
    CHECK(e.compared == kCount);
    CHECK(e.max_abs == most);
    CHECK(e.signal.number() == doctest::Approx(signal).epsilon(1e-12));
    CHECK(e.error.number() == doctest::Approx(error).epsilon(1e-12));
  };
  check(row_of(doubles, DataType::kDouble, dims), doubles, {});
  check(row_of(halves, DataType::kFloat16, dims), of_half, {});
  check(row_of(short_floats, DataType::kBfloat16, dims), of_bfloat16, {});
  check(row_of(codes, DataType::kUint8, dims), of_codes, how);
  check(row_of(signed_codes, DataType::kInt8, dims), of_codes, signed_how);
  // Codes of which nobody knows what they stand for are no floats.
  CHECK(energy_of(row_of(p.r, DataType::kFloat, dims), row_of(codes, DataType::kUint8, dims))
            .skipped == 1);
}

}  // namespace
}  // namespace onnxtool
