// Every version of the scan gives what the plain one gives.

#include "calib/ranges/scan.h"

#include <doctest/doctest.h>

#include <cmath>
#include <random>
#include <string>
#include <vector>

namespace onnxtool {
namespace {

std::vector<std::pair<std::string, const Scan*>> versions() {
  std::vector<std::pair<std::string, const Scan*>> all = {{"chosen", &scan()}};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    all.emplace_back("avx2", &kScanAvx2);
#endif
  return all;
}

void check_same(const Extrema& a, const Extrema& b) {
  CHECK(a.min == b.min);
  CHECK(a.max == b.max);
  CHECK(a.min_abs == b.min_abs);
  CHECK(a.zeros == b.zeros);
  CHECK(a.nan == b.nan);
}

std::vector<float> values(std::mt19937& random, size_t n, bool special) {
  std::normal_distribution<float> normal;
  std::vector<float> x(n);
  for (float& v : x) {
    switch (random() % 8) {
      case 0: v = 0.0f; break;
      case 1: v = -0.0f; break;
      case 2: v = std::ldexp(normal(random), -145); break;  // subnormal
      case 3: v = std::ldexp(normal(random), 120); break;
      default: v = normal(random);
    }
    if (special && random() % 16 == 0)
      v = random() % 2 ? std::nanf("") : random() % 2 ? INFINITY : -INFINITY;
  }
  return x;
}

TEST_CASE("scan: every version agrees with the plain one") {
  std::mt19937 random(7);
  for (const auto& [name, version] : versions())
    for (size_t n : {0, 1, 7, 8, 15, 16, 17, 31, 32, 33, 100, 2048, 2049})
      for (bool special : {false, true}) {
        CAPTURE(name);
        CAPTURE(n);
        CAPTURE(special);
        const std::vector<float> x = values(random, n, special);
        Extrema expected, found;
        kScanBaseline.extrema(expected, x.data(), n);
        version->extrema(found, x.data(), n);
        check_same(expected, found);

        Extrema expected_too, found_too;
        std::vector<uint32_t> a(n + Scan::kSlack), b(n + Scan::kSlack);
        a.resize(kScanBaseline.buckets(expected_too, x.data(), n, a.data()));
        b.resize(version->buckets(found_too, x.data(), n, b.data()));
        check_same(expected_too, found_too);
        CHECK(a == b);
        CHECK(a.size() + expected_too.zeros == n);
      }
}

}  // namespace
}  // namespace onnxtool
