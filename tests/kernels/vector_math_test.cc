// The vector loops against libm, and the levels against each other.
#include "calib/kernels/cpu/vector_math.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "libopt/support/half.h"

namespace onnxtool::testing {
namespace {

// Every 100,003rd float that is finite: some 42,000 of both signs and all magnitudes.
std::vector<float> sampled_floats() {
  std::vector<float> x;
  for (uint64_t bits = 0; bits <= UINT32_MAX; bits += 100003) {
    const float v = std::bit_cast<float>(static_cast<uint32_t>(bits));
    if (std::isfinite(v)) x.push_back(v);
  }
  return x;
}

// Distance in units of the last place of the exact value; subnormal results count in their own.
double ulps(float actual, double exact) {
  if (actual == static_cast<float>(exact)) return 0;
  const double magnitude = std::max(std::abs(exact), 0x1p-126);
  return std::abs(static_cast<double>(actual) - exact) /
         std::ldexp(1.0, std::ilogb(magnitude) - 23);
}

std::vector<const VectorMath*> levels() {
  std::vector<const VectorMath*> all = {&kVectorMathBaseline};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    all.push_back(&kVectorMathAvx2);
  if (&vector_math() == &kVectorMathAvx512) all.push_back(&kVectorMathAvx512);
#endif
  return all;
}

using Loop = void (*VectorMath::*)(const float*, float*, int64_t);

void check_loop(Loop loop, double (*exact)(double), double bound) {
  const std::vector<float> x = sampled_floats();
  const auto n = static_cast<int64_t>(x.size());
  std::vector<float> first(x.size()), y(x.size());
  (kVectorMathBaseline.*loop)(x.data(), first.data(), n);
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i)
    worst = std::max(worst, ulps(first[i], exact(static_cast<double>(x[i]))));
  CHECK(worst <= bound);
  for (const VectorMath* level : levels()) {
    (level->*loop)(x.data(), y.data(), n);
    CHECK(std::memcmp(first.data(), y.data(), x.size() * sizeof(float)) == 0);
  }
}

}  // namespace

// The bounds are those that vector_math.h states.
TEST_CASE("exp, sigmoid, tanh and erf keep their bounds, with the same bits on every level") {
  check_loop(
      &VectorMath::exp, [](double x) { return std::exp(x); }, 1.04);
  check_loop(
      &VectorMath::sigmoid, [](double x) { return 1 / (1 + std::exp(-x)); }, 2.5);
  check_loop(
      &VectorMath::tanh, [](double x) { return std::tanh(x); }, 1.33);
  check_loop(
      &VectorMath::erf, [](double x) { return std::erf(x); }, 1.15);
}

TEST_CASE("float16 is read and rounded as Half does, on every level") {
  std::vector<uint16_t> all(65536), back(65536);
  std::vector<float> wide(65536);
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<uint16_t>(i);
  std::vector<float> x = sampled_floats();
  for (uint32_t bits = 0; bits < 0x7c00; ++bits) {
    Half h;
    h.bits = static_cast<uint16_t>(bits);
    const float exact = h;
    // The halves themselves, and the ties and neighbours above them.
    Half next;
    next.bits = static_cast<uint16_t>(bits + 1);
    const float tie = bits + 1 < 0x7c00 ? (exact + static_cast<float>(next)) / 2 : 65520.0f;
    for (const float v : {exact, tie, std::nextafter(tie, 0.0f), std::nextafter(tie, 1e9f)})
      x.insert(x.end(), {v, -v});
  }
  x.insert(x.end(), {INFINITY, -INFINITY, NAN, 1e30f, -1e30f});
  for (const VectorMath* level : levels()) {
    level->widen_half(all.data(), wide.data(), 65536);
    int wrong_wide = 0;
    for (size_t i = 0; i < all.size(); ++i) {
      Half h;
      h.bits = all[i];
      wrong_wide +=
          std::bit_cast<uint32_t>(static_cast<float>(h)) != std::bit_cast<uint32_t>(wide[i]);
    }
    CHECK(wrong_wide == 0);
    back.resize(x.size());
    level->narrow_half(x.data(), back.data(), static_cast<int64_t>(x.size()));
    int wrong = 0;
    for (size_t i = 0; i < x.size(); ++i) wrong += Half(x[i]).bits != back[i];
    CHECK(wrong == 0);
  }
}

TEST_CASE("blocks, edges and three channels are transposed on every level") {
  std::vector<uint32_t> x(70 * 90), y(x.size());
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<uint32_t>(i);
  for (const VectorMath* level : levels())
    for (const auto& [rows, columns] : std::vector<std::pair<int64_t, int64_t>>{
             {1, 1}, {3, 50}, {50, 3}, {2, 37}, {8, 8}, {16, 24}, {19, 33}, {64, 70}, {5, 8}})
      for (const int64_t more : {0, 5}) {
        const int64_t x_stride = columns + more, y_stride = rows + more;
        std::ranges::fill(y, 0xffffffffu);
        level->transpose32(x.data(), x_stride, y.data(), y_stride, rows, columns);
        int wrong = 0;
        for (int64_t c = 0; c < columns; ++c)
          for (int64_t r = 0; r < y_stride; ++r)
            wrong += y[static_cast<size_t>(c * y_stride + r)] !=
                     (r < rows ? x[static_cast<size_t>(r * x_stride + c)] : 0xffffffffu);
        CHECK_MESSAGE(wrong == 0, rows << " rows, " << columns << " columns");
      }
}

TEST_CASE("the terms of softmax sum up in the same order on every level") {
  std::vector<float> x(1001), first(x.size()), y(x.size());
  for (size_t i = 0; i < x.size(); ++i) x[i] = std::sin(static_cast<float>(i)) * 8;
  const float sum = kVectorMathBaseline.softmax_terms(x.data(), first.data(), 1001);
  double expected = 0;
  for (const float v : first) expected += static_cast<double>(v);
  CHECK(std::abs(static_cast<double>(sum) - expected) <= 1e-5 * expected);
  for (const VectorMath* level : levels()) {
    CHECK(level->softmax_terms(x.data(), y.data(), 1001) == sum);
    CHECK(std::memcmp(first.data(), y.data(), x.size() * sizeof(float)) == 0);
  }
}

TEST_CASE(
    "products with 4-bit weights are those of their values, with the same bits on every level") {
  // Blocks of 16 to 256 weights, a last group that is partly filled, and more blocks than lanes.
  for (const auto& [blocks, bytes] :
       {std::pair<int64_t, int64_t>{3, 8}, {1, 16}, {21, 16}, {5, 32}, {3, 128}}) {
    std::vector<uint8_t> codes;
    std::vector<uint8_t> zero_codes;
    std::vector<float> scales, zeros, sums(static_cast<size_t>(blocks));
    std::vector<float> x(static_cast<size_t>(blocks * bytes * 2 + kNibbleGroup));
    double expected = 0, size = 0;
    for (int64_t b = 0; b < blocks; ++b) {
      scales.push_back(0.5f - 0.1f * static_cast<float>(b % 7));
      zeros.push_back(static_cast<float>(b % 5 + 5));
      if (b % 2 == 0) zero_codes.push_back(0);
      zero_codes.back() |= static_cast<uint8_t>((b % 5 + 5) << (b % 2 * 4));
    }
    for (int64_t k = 0; k < blocks * bytes * 2; ++k) {
      if (k % 2 == 0) codes.push_back(static_cast<uint8_t>(k * 37 + k / 7));
      const auto b = static_cast<size_t>(k / (2 * bytes));
      const float value = std::sin(static_cast<float>(3 * k));
      x[static_cast<size_t>(k / 128 * 128 + k % 8 * 16 + k % 128 / 8)] = value;
      sums[b] += value;
      const int code = (codes.back() >> (k % 2 * 4)) & 15;
      const double term = static_cast<double>(value) * (code - static_cast<double>(zeros[b])) *
                          static_cast<double>(scales[b]);
      expected += term;
      size += std::abs(term) + std::abs(static_cast<double>(value * scales[b] * 8.0f));
    }
    const NibbleRow packed{codes.data(),      scales.data(), blocks,     bytes,
                           zero_codes.data(), nullptr,       sums.data()};
    NibbleRow plain = packed;
    plain.zero_codes = nullptr;
    plain.zeros = zeros.data();
    const float first = kVectorMathBaseline.dot_nibbles(x.data(), packed);
    CHECK(std::abs(static_cast<double>(first) - expected) < 16 * 0x1p-24 * size);
    for (const VectorMath* level : levels())
      for (const NibbleRow& row : {packed, plain})
        CHECK(level->dot_nibbles(x.data(), row) == first);
  }
}

TEST_CASE("4-bit weights are dequantized to the same bits on every level") {
  constexpr size_t kWords = 3, kStride = 20;
  std::vector<uint32_t> words(kWords * 16);
  for (size_t i = 0; i < words.size(); ++i) words[i] = static_cast<uint32_t>(i) * 0x9e3779b9u;
  std::vector<float> zeros(16), scales(16);
  for (size_t i = 0; i < 16; ++i) {
    zeros[i] = static_cast<float>(i) * 0.7f;
    scales[i] = 0.3f + static_cast<float>(i) / 9;
  }
  for (const VectorMath* level : levels()) {
    std::vector<float> y(kWords * 8 * kStride, -1);
    level->dequantize_nibbles(words.data(), zeros.data(), scales.data(), y.data(), kStride, kWords);
    for (size_t k = 0; k < kWords * 8; ++k)
      for (size_t i = 0; i < kStride; ++i) {
        if (i >= 16) {
          CHECK(y[k * kStride + i] == -1);
          continue;
        }
        const auto code = static_cast<int>(words[k / 8 * 16 + i] >> (k % 8 * 4)) & 15;
        CHECK(y[k * kStride + i] == (static_cast<float>(code) - zeros[i]) * scales[i]);
      }
  }
}

}  // namespace onnxtool::testing
