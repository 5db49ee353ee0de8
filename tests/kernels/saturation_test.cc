// Integer products as CPUs without VNNI compute them, against plain loops over pairs of products.
#include "calib/kernels/cpu/saturation.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "tests/kernels/one_node.h"

namespace onnxtool {
namespace {

using testing::Dims;
using testing::OneNode;

template <class T>
std::vector<T> codes(int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<T> out(static_cast<size_t>(count));
  // Large ones: that is where pairs saturate.
  for (T& v : out)
    v = static_cast<T>(std::is_signed_v<T>
                           ? (random() % 2 ? 127 - random() % 20 : -128 + random() % 20)
                           : 255 - random() % 40);
  return out;
}

int32_t pair_sum(const std::vector<std::pair<int, int>>& products) {
  int32_t sum = 0;
  for (size_t i = 0; i < products.size(); i += 2) {
    int32_t pair = products[i].first * products[i].second;
    if (i + 1 < products.size()) pair += products[i + 1].first * products[i + 1].second;
    sum += std::clamp(pair, -32768, 32767);
  }
  return sum;
}

std::vector<int32_t> run(const OneNode& node, const KernelSet& set) {
  const auto out = testing::run_once(node, 1, set, 1);
  REQUIRE_MESSAGE(out.ok(), (out.ok() ? "" : out.error().message));
  return (*out)[0].values<int32_t>();
}

TEST_CASE("saturation: what a pair loses") {
  const uint8_t data[] = {255, 255, 255, 255, 255};
  const int8_t fits[] = {64, 64, -64, -64, 127}, high[] = {65, 64, 0, 0, 127},
               low[] = {0, 0, -128, -128, -128};
  CHECK(saturation_loss(data, fits, 5) == 0);
  CHECK(saturation_loss(data, high, 5) == 255 * 129 - 32767);
  CHECK(saturation_loss(data, low, 5) == -255 * 256 + 32768);
}

TEST_CASE("saturation: matrix products add pairs along the common axis") {
  const int64_t m = 5, k = 7, n = 19;
  const auto a = codes<uint8_t>(m * k, 1);
  const auto b = codes<int8_t>(k * n, 2);
  const OneNode node{.op = "MatMulInteger",
                     .inputs = {Tensor::from({m, k}, a), Tensor::from({k, n}, b)}};
  const auto got = run(node, cpu_kernel_set_no_vnni());
  bool saturated = false;
  const auto exact = run(node, cpu_kernel_set());
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      std::vector<std::pair<int, int>> products;
      for (int64_t x = 0; x < k; ++x)
        products.emplace_back(a[static_cast<size_t>(i * k + x)], b[static_cast<size_t>(x * n + j)]);
      const auto at = static_cast<size_t>(i * n + j);
      CHECK(got[at] == pair_sum(products));
      saturated |= got[at] != exact[at];
    }
  CHECK(saturated);
}

TEST_CASE("saturation: signed data counts with its sign bit flipped, zero points change nothing") {
  const int64_t m = 3, k = 6, n = 4;
  const auto a = codes<uint8_t>(m * k, 3);
  std::vector<int8_t> flipped;
  for (const uint8_t v : a) flipped.push_back(static_cast<int8_t>(v - 128));
  const auto b = codes<int8_t>(k * n, 4);
  const Tensor weights = Tensor::from({k, n}, b);
  const auto u8 = run(
      {.op = "MatMulInteger",
       .inputs = {Tensor::from({m, k}, a), weights, Tensor::from({}, std::vector<uint8_t>{130})}},
      cpu_kernel_set_no_vnni());
  const auto s8 = run({.op = "MatMulInteger",
                       .inputs = {Tensor::from({m, k}, flipped), weights,
                                  Tensor::from({}, std::vector<int8_t>{2})}},
                      cpu_kernel_set_no_vnni());
  CHECK(u8 == s8);
  CHECK(u8 != run({.op = "MatMulInteger",
                   .inputs = {Tensor::from({m, k}, a), weights,
                              Tensor::from({}, std::vector<uint8_t>{130})}},
                  cpu_kernel_set()));
}

TEST_CASE("saturation: unsigned weights are exact") {
  const OneNode node{.op = "MatMulInteger",
                     .inputs = {Tensor::from({4, 8}, codes<uint8_t>(32, 5)),
                                Tensor::from({8, 4}, codes<uint8_t>(32, 6))}};
  CHECK(run(node, cpu_kernel_set_no_vnni()) == run(node, cpu_kernel_set()));
}

// With a scale of the output so large that no sum leaves 8 bits, but small enough to tell sums
// apart that saturate.
constexpr float kOutputScale = 2000;

OneNode linear_conv(const Tensor& x, uint8_t x_zero, const Tensor& w, Dims pads, int64_t group) {
  const auto scale = [](float s) { return Tensor::from({}, std::vector<float>{s}); };
  return {.op = "QLinearConv",
          .inputs = {x, scale(1), Tensor::from({}, std::vector<uint8_t>{x_zero}), w, scale(1),
                     Tensor::from({}, std::vector<int8_t>{0}), scale(kOutputScale),
                     Tensor::from({}, std::vector<uint8_t>{128})},
          .attributes = {{"pads", std::move(pads)}, {"group", group}}};
}

std::vector<uint8_t> run_bytes(const OneNode& node, const KernelSet& set) {
  const auto out = testing::run_once(node, 3, set, 1);
  REQUIRE_MESSAGE(out.ok(), (out.ok() ? "" : out.error().message));
  return (*out)[0].values<uint8_t>();
}

uint8_t output_code(int32_t sum) {
  const float y = std::nearbyint(static_cast<float>(sum) * (1 / kOutputScale)) + 128;
  return static_cast<uint8_t>(std::clamp(y, 0.0f, 255.0f));
}

// [1, group x channels, side, side] by [outputs, channels, 3, 3], padded by 1.
void check_conv(int64_t channels, int64_t outputs, int64_t group) {
  const int64_t side = 4;
  const auto x = codes<uint8_t>(group * channels * side * side, 7);
  const auto w = codes<int8_t>(outputs * channels * 9, 8);
  const OneNode node = linear_conv(Tensor::from({1, group * channels, side, side}, x), 9,
                                   Tensor::from({outputs, channels, 3, 3}, w), {1, 1, 1, 1}, group);
  const auto got = run_bytes(node, cpu_kernel_set_no_vnni()),
             exact = run_bytes(node, cpu_kernel_set());
  CHECK(got != exact);
  for (int64_t m = 0; m < outputs; ++m)
    for (int64_t i = 0; i < side; ++i)
      for (int64_t j = 0; j < side; ++j) {
        std::vector<std::pair<int, int>> products;
        int32_t correction = 0;  // of the data's zero point
        for (int64_t a = 0; a < 3; ++a)
          for (int64_t b = 0; b < 3; ++b)
            for (int64_t c = 0; c < channels; ++c) {
              const int64_t y = i + a - 1, z = j + b - 1;
              const bool inside = y >= 0 && y < side && z >= 0 && z < side;
              const int weight = w[static_cast<size_t>(((m * channels + c) * 3 + a) * 3 + b)];
              const int64_t plane = m / (outputs / group) * channels + c;
              products.emplace_back(
                  inside ? x[static_cast<size_t>((plane * side + y) * side + z)] : 9, weight);
              correction += 9 * weight;
            }
        CHECK(got[static_cast<size_t>((m * side + i) * side + j)] ==
              output_code(pair_sum(products) - correction));
      }
}

TEST_CASE("saturation: convolutions add pairs of channels, tap by tap") {
  check_conv(3, 4, 1);
  check_conv(2, 4, 2);
}

TEST_CASE("saturation: several outputs for each channel are products of taps") {
  check_conv(1, 6, 3);
}

TEST_CASE("saturation: depthwise convolutions are exact") {
  const OneNode node =
      linear_conv(Tensor::from({1, 4, 5, 5}, codes<uint8_t>(100, 9)), 3,
                  Tensor::from({4, 1, 3, 3}, codes<int8_t>(36, 10)), {0, 0, 0, 0}, 4);
  CHECK(run_bytes(node, cpu_kernel_set_no_vnni()) == run_bytes(node, cpu_kernel_set()));
}

TEST_CASE("saturation: ConvInteger, whose weights stand on the left, is no such product") {
  for (const KernelInfo* k : cpu_kernel_set_no_vnni().kernels) CHECK(k->op != "ConvInteger");
}

}  // namespace
}  // namespace onnxtool
