// Transforms, windows, random numbers and training steps against their formulas.
#include <cmath>
#include <numbers>

#include "tests/kernels/one_node.h"

namespace onnxtool::testing {
namespace {

using Doubles = std::vector<double>;

Tensor scalar(int64_t value) { return Tensor::from<int64_t>({}, std::vector<int64_t>{value}); }

// Real and imaginary parts of the sum over t of x[t] * exp(sign * 2 pi i k t / n).
Doubles transform(const Doubles& x, int64_t n, int64_t bins, int sign) {
  Doubles y;
  for (int64_t k = 0; k < bins; ++k) {
    double re = 0, im = 0;
    for (int64_t t = 0; t < std::min(n, static_cast<int64_t>(x.size())); ++t) {
      const double a =
          sign * 2 * std::numbers::pi * static_cast<double>(k * t % n) / static_cast<double>(n);
      re += x[static_cast<size_t>(t)] * std::cos(a);
      im += x[static_cast<size_t>(t)] * std::sin(a);
    }
    y.push_back(re);
    y.push_back(im);
  }
  return y;
}

void check_near(const Tensor& actual, const Doubles& expected, double bound) {
  REQUIRE(actual.count() == static_cast<int64_t>(expected.size()));
  const auto values = actual.values<float>();
  for (size_t i = 0; i < expected.size(); ++i)
    CHECK_MESSAGE(std::abs(static_cast<double>(values[i]) - expected[i]) <= bound, "element " << i);
}

}  // namespace

TEST_CASE("transforms of powers of two, other lengths, padded and cut signals follow the sum") {
  for (const int64_t n : {1, 2, 3, 7, 16, 37, 100}) {
    OneNode node{
        .op = "DFT", .opset = 20, .inputs = {Values(3).normal({20, 1}), scalar(n), scalar(0)}};
    const Doubles x = doubles<float>(node.inputs[0]);
    // Sums of 20 values of size 1, rounded to float once.
    check_near(run_node(node)[0], transform(x, n, n, -1), 1e-5);
    node.attributes = {{"onesided", int64_t{1}}};
    const Tensor half = run_node(node)[0];
    check_near(half, transform(x, n, n / 2 + 1, -1), 1e-5);
    // And back: the signal itself, cut or padded.
    OneNode back{.op = "DFT",
                 .opset = 20,
                 .inputs = {half, scalar(n), scalar(0)},
                 .attributes = {{"onesided", int64_t{1}}, {"inverse", int64_t{1}}}};
    Doubles expected = x;
    expected.resize(static_cast<size_t>(n));
    check_near(run_node(back)[0], expected, 1e-5);
  }
}

TEST_CASE("transforms refuse lengths and axes that make no sense") {
  OneNode node{.op = "DFT", .opset = 17, .inputs = {Values(3).normal({2, 4, 1}), scalar(0)}};
  CHECK(mentions(error_of(node), "dft_length is 0, expected 1 to"));
  node.inputs[1] = scalar(int64_t{1} << 60);
  CHECK(mentions(error_of(node), "dft_length is 1152921504606846976"));
  node.inputs.resize(1);
  node.attributes = {{"axis", int64_t{2}}};
  CHECK(mentions(error_of(node), "axis is the one of real and imaginary parts"));
  OneNode stft{.op = "STFT",
               .opset = 17,
               .inputs = {Values(3).normal({1, 8, 1}), scalar(2), Tensor(), scalar(9)}};
  CHECK(mentions(error_of(stft), "do not fit a signal of 8"));
  stft.inputs = {Values(3).normal({1, 8, 1}), scalar(0), Tensor(), scalar(4)};
  CHECK(mentions(error_of(stft), "0 apart"));
}

TEST_CASE("frames are multiplied by the window before they are transformed") {
  OneNode node{.op = "STFT",
               .opset = 17,
               .inputs = {Tensor::from<float>({1, 5, 1}, std::vector<float>{1, 2, 3, 4, 5}),
                          scalar(3), Tensor::from<float>({2}, std::vector<float>{1, 10})}};
  // Frames (1, 2) and (4, 5): sums 21 and 54, differences -19 and -46.
  check_near(run_node(node)[0], {21, 0, -19, 0, 54, 0, -46, 0}, 1e-5);
}

TEST_CASE("windows and mel weights") {
  check_near(run_node({.op = "HannWindow", .inputs = {scalar(4)}})[0], {0, 0.5, 1, 0.5}, 1e-7);
  check_near(
      run_node(
          {.op = "HannWindow", .inputs = {scalar(1)}, .attributes = {{"periodic", int64_t{0}}}})[0],
      {1}, 0);
  CHECK(mentions(error_of({.op = "HannWindow", .inputs = {scalar(-1)}}), "size is -1"));
  CHECK(mentions(error_of({.op = "HannWindow", .inputs = {scalar(int64_t{1} << 31)}}),
                 "size is 2147483648, expected 0 to 268435456"));
  OneNode mel{
      .op = "MelWeightMatrix",
      .inputs = {scalar(2), scalar(8), scalar(100), Tensor::from<float>({}, std::vector<float>{0}),
                 Tensor::from<float>({}, std::vector<float>{1000})}};
  CHECK(mentions(error_of(mel), "lies outside of the spectrogram's 5 bins"));
}

TEST_CASE("seeds give the numbers of numpy's RandomState") {
  const Given seed{"seed", 5.0f};
  const Given shape{"shape", Dims{3}};
  check_near(run_node({.op = "RandomUniform", .attributes = {seed, shape}})[0],
             {0.22199317108973948, 0.8707323061773764, 0.20671915533942642}, 1e-7);
  check_near(run_node({.op = "RandomNormal", .attributes = {seed, shape}})[0],
             {0.44122748688504143, -0.33087015189408764, 2.43077118700778}, 1e-6);
  const Tensor p = Tensor::from<float>({4}, std::vector<float>{0, 1, 0.5f, 0.5f});
  const auto drawn =
      doubles<float>(run_node({.op = "Bernoulli", .inputs = {p}, .attributes = {seed}})[0]);
  CHECK(drawn[0] == 0);
  CHECK(drawn[1] == 1);
  CHECK(mentions(
      error_of({.op = "Bernoulli", .inputs = {Tensor::from<float>({1}, std::vector<float>{2})}}),
      "expected a probability"));
  OneNode classes{.op = "Multinomial",
                  .inputs = {Tensor::from<float>({2, 3}, std::vector<float>{0, 90, 0, 90, 0, 0})},
                  .attributes = {{"sample_size", int64_t{2}}}};
  CHECK(doubles<int32_t>(run_node(classes)[0]) == Doubles{1, 1, 0, 0});
}

TEST_CASE("dropout in training scales what it keeps") {
  OneNode node{
      .op = "Dropout",
      .inputs = {Tensor::from<float>({4}, std::vector<float>{1, 2, 3, 4}),
                 Tensor::from<float>({}, std::vector<float>{0.5f}), Tensor::scalar<bool>(true)},
      .attributes = {{"seed", int64_t{5}}},
      .outputs = 2};
  // 0.22, 0.87, 0.21, 0.92 from RandomState(5).
  CHECK(doubles<float>(run_node(node)[0]) == Doubles{0, 4, 0, 8});
  node.inputs[1] = Tensor::from<float>({}, std::vector<float>{1});
  CHECK(mentions(error_of(node), "ratio is 1.000000"));
}

TEST_CASE("bits keep their width under another type") {
  const Tensor one = Tensor::from<float>({1}, std::vector<float>{1});
  const Given to_int{"to", static_cast<int64_t>(DataType::kInt32)},
      to_byte{"to", static_cast<int64_t>(DataType::kInt8)};
  CHECK(doubles<int32_t>(
            run_node({.op = "BitCast", .opset = 26, .inputs = {one}, .attributes = {to_int}})[0]) ==
        Doubles{0x3f800000});
  CHECK(mentions(error_of({.op = "BitCast", .opset = 26, .inputs = {one}, .attributes = {to_byte}}),
                 "float and int8 have no common width"));
}

TEST_CASE("NaN and infinities have a quantization") {
  const float inf = std::numeric_limits<float>::infinity();
  OneNode node{.op = "DynamicQuantizeLinear",
               .inputs = {Tensor::from<float>({3}, std::vector<float>{std::nanf(""), -1, 3})},
               .outputs = 3};
  CHECK(doubles<uint8_t>(run_node(node)[2]) == Doubles{64});
  node.inputs[0] = Tensor::from<float>({3}, std::vector<float>{-inf, inf, 0});
  CHECK(doubles<uint8_t>(run_node(node)[2]) == Doubles{0});
}

}  // namespace onnxtool::testing
