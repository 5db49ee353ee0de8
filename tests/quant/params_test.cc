// Quantization arithmetic: the reference's conformance vectors, onnxruntime's own integers, the
// bias rule.

#include "quant/params.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <random>

namespace onnxtool {
namespace {

QuantParams params(double low, double high, DataType type, bool symmetric = false,
                   bool reduced = false, bool ort = true) {
  const auto p = compute({low, high}, scheme_of(type, symmetric, reduced, ort));
  REQUIRE(p.ok());
  return *p;
}

/// The weights that the expected integers below were computed from, with onnxruntime 1.31.
std::vector<float> sample_weights() {
  std::vector<float> w;
  for (int i = 0; i < 24; ++i) w.push_back(static_cast<float>(i * 37 % 23 - 9) / 7.0f);
  return w;
}
const std::vector<int64_t> kDims = {2, 3, 4};

std::vector<int32_t> codes(const QuantizedWeights& q, size_t n) {
  std::vector<int32_t> c;
  const std::vector<float> unit(q.scales.size(), 1.0f);
  QuantizedWeights plain = q;
  plain.scales = unit;
  plain.zero_points.assign(q.zero_points.size(), 0);
  const std::vector<int64_t> flat = {static_cast<int64_t>(n)};
  for (float v : dequantize_weights(plain, plain.axis ? std::span<const int64_t>(kDims) : flat))
    c.push_back(static_cast<int32_t>(v));
  return c;
}

TEST_CASE("schemes: the table of integer ranges") {
  struct Row {
    DataType type;
    int full[2], symmetric[2], reduced[2];
  };
  for (const Row& r : {Row{DataType::kUint8, {0, 255}, {0, 255}, {0, 127}},
                       Row{DataType::kInt8, {-128, 127}, {-127, 127}, {-64, 64}},
                       Row{DataType::kUint16, {0, 65535}, {0, 65535}, {0, 32767}},
                       Row{DataType::kInt16, {-32768, 32767}, {-32767, 32767}, {-16384, 16384}},
                       Row{DataType::kUint4, {0, 15}, {0, 15}, {0, 7}},
                       Row{DataType::kInt4, {-8, 7}, {-8, 7}, {-4, 3}}}) {
    CAPTURE(name(r.type));
    const auto check = [&](QuantScheme s, const int(&expected)[2]) {
      CHECK(s.qmin == expected[0]);
      CHECK(s.qmax == expected[1]);
      CHECK(s.clip_min == r.full[0]);
      CHECK(s.clip_max == r.full[1]);
    };
    check(scheme_of(r.type, false, false, true), r.full);
    check(scheme_of(r.type, true, false, true), r.symmetric);
    check(scheme_of(r.type, false, true, true), r.reduced);
    check(scheme_of(r.type, true, true, true), r.reduced);
  }
  CHECK(scheme_of(DataType::kInt4, true).qmin == -7);  // ours: +absmax is on the grid
}

TEST_CASE("scale and zero point: conformance vectors") {
  CHECK(params(-1, 3, DataType::kUint8).scale == doctest::Approx(0.01568627));
  CHECK(params(-1, 3, DataType::kUint8).zero_point == 64);
  CHECK(params(-1, 3, DataType::kInt8).scale == doctest::Approx(0.01568627));
  CHECK(params(-1, 3, DataType::kInt8).zero_point == -64);
  CHECK(params(-1, 3, DataType::kUint16).scale == doctest::Approx(6.1036087e-5));
  CHECK(params(-1, 3, DataType::kUint16).zero_point == 16384);
  CHECK(params(-1, 3, DataType::kInt16).zero_point == -16384);
  CHECK(params(-1, 3, DataType::kUint4).scale == doctest::Approx(0.26666667));
  CHECK(params(-1, 3, DataType::kUint4).zero_point == 4);
  CHECK(params(-1, 3, DataType::kInt4).zero_point == -4);
  CHECK(params(0.5, 2, DataType::kUint8).scale == doctest::Approx(0.00784314));
  CHECK(params(0.5, 2, DataType::kUint8).zero_point == 0);
  CHECK(params(-1, 1, DataType::kInt8, true).scale == 1.0f / 127);
  CHECK(params(-1, 0.5, DataType::kInt8, true).zero_point == 0);
  CHECK(params(-1, 1, DataType::kUint8, true).scale == 2.0f / 255);
  CHECK(params(-1, 1, DataType::kUint8, true).zero_point == 128);
  CHECK(params(-1, 1, DataType::kUint16, true).zero_point == 32768);
  CHECK(params(-1, 1, DataType::kInt8, true, true).scale == 1.0f / 64);
  CHECK(params(-1, 1, DataType::kInt8, true, true).zero_point == 0);
  CHECK(params(-1, 1, DataType::kUint8, true, true).zero_point == 64);
  for (DataType t : {DataType::kUint8, DataType::kInt8, DataType::kUint16})
    for (bool symmetric : {false, true}) {
      CHECK(params(0, 0, t, symmetric).scale == 1);
      CHECK(params(0, 0, t, symmetric).zero_point == 0);
      CHECK(params(0, 1e-40, t, symmetric).scale == 1);
    }
  // A least range: [0, 1e-6] becomes [0, 1e-4].
  CHECK(compute({0, 1e-6}, scheme_of(DataType::kUint8, false), 1e-4)->scale ==
        static_cast<float>(1e-4 / 255));
  // Softmax outputs.
  CHECK(params(0, 1, DataType::kUint8).scale == 1.0f / 255);
}

TEST_CASE("scale and zero point: s4 symmetric as onnxruntime has it, and ours") {
  const QuantScheme ort = scheme_of(DataType::kInt4, true, false, true);
  const QuantParams p = *compute({-1, 1}, ort);
  CHECK(p.scale == 1.0f / 7.5f);
  CHECK(p.zero_point == 0);
  CHECK(quantize_value(1, p, ort) == 7);
  CHECK(dequantize_value(7, p) == doctest::Approx(0.9333).epsilon(1e-4));
  // -1 / scale is -7.5 exactly only before the scale is rounded up to a float; onnxruntime 1.31
  // gives -7 too.
  CHECK(quantize_value(-1, p, ort) == -7);
  CHECK(quantize_value(-1.01f, p, ort) == -8);
  const QuantScheme ours = scheme_of(DataType::kInt4, true);
  CHECK(dequantize_value(quantize_value(1, *compute({-1, 1}, ours), ours),
                         *compute({-1, 1}, ours)) == doctest::Approx(1));
}

TEST_CASE("scale and zero point: what they refuse, and the largest range") {
  const QuantScheme s = scheme_of(DataType::kUint8, false);
  CHECK(compute({0, std::numeric_limits<double>::infinity()}, s).error().code ==
        ErrorCode::kNotFinite);
  CHECK(compute({std::nan(""), 1}, s).error().code == ErrorCode::kNotFinite);
  CHECK(compute({0, 1e300}, s).error().code == ErrorCode::kNotFinite);
  CHECK(compute({0, 1e300}, s).error().message == "range [0, 1e+300] needs a scale beyond float");
  CHECK(compute({-3.4e38, 3.4e38}, s).ok());  // the difference passes float, the scale does not
}

TEST_CASE("quantize: ties to even, saturation at the type, NaN and infinity") {
  const QuantScheme s = scheme_of(DataType::kUint8, false);
  for (int32_t zero : {0, 1, 128}) {  // parity of the zero point must not matter
    const QuantParams unit{1, zero};
    CHECK(quantize_value(0.5f, unit, s) == 0 + zero);
    CHECK(quantize_value(1.5f, unit, s) == 2 + zero);
    CHECK(quantize_value(2.5f, unit, s) == 2 + zero);
    CHECK(quantize_value(300, unit, s) == 255);
    CHECK(quantize_value(-300, unit, s) == 0);
    CHECK(quantize_value(std::numeric_limits<float>::infinity(), unit, s) == 255);
    CHECK(quantize_value(-3e38f, unit, s) == 0);
    CHECK(quantize_value(std::nanf(""), unit, s) == zero);
  }
  const QuantScheme wide = scheme_of(DataType::kUint16, false);
  CHECK(quantize_value(1e30f, {1e-30f, 7}, wide) == 65535);  // the quotient is infinite
  // Reduced and symmetric ranges narrow the scale, not the type.
  const QuantScheme reduced = scheme_of(DataType::kInt8, true, true);
  CHECK(quantize_value(200, {1, 0}, reduced) == 127);
  CHECK(representable({0.5f, 10}, s) == Range{-5, 122.5});
}

TEST_CASE("weights: onnxruntime's scales and integers, bit for bit") {
  struct Case {
    DataType type;
    bool symmetric, reduced;
    float scale;
    int32_t zero_point;
    std::vector<int32_t> q;
  };
  const std::vector<float> w = sample_weights();
  for (const Case& c : {
           Case{DataType::kInt8, true, false, 0.014623171649873257f, 0, {-88, 49, -39, 98,  10,
                                                                         -78, 59, -29, 107, 20,
                                                                         -68, 68, -20, 117, 29,
                                                                         -59, 78, -10, 127, 39,
                                                                         -49, 88, 0,   -88}},
           Case{DataType::kInt8, true, true, 0.02901785634458065f, 0, {-44, 25, -20, 49, 5,
                                                                       -39, 30, -15, 54, 10,
                                                                       -34, 34, -10, 59, 15,
                                                                       -30, 39, -5,  64, 20,
                                                                       -25, 44, 0,   -44}},
           Case{DataType::kUint8, false, false, 0.012324930168688297f, 104, {0,  162, 58,  220, 116,
                                                                             11, 174, 69,  231, 127,
                                                                             23, 185, 81,  243, 139,
                                                                             34, 197, 92,  255, 150,
                                                                             46, 208, 104, 0}},
           Case{DataType::kUint8, false, true, 0.024746906012296677f, 52, {0,  81,  29, 110, 58,
                                                                           6,  87,  35, 116, 64,
                                                                           12, 92,  40, 121, 69,
                                                                           17, 98,  46, 127, 75,
                                                                           23, 104, 52, 0}},
           Case{DataType::kInt16,
                true,
                false,
                5.667722871294245e-05f,
                0,
                {-22685, 12603, -10082, 25205, 2521,   -20164, 15123, -7562,
                 27726,  5041,  -17644, 17644, -5041,  30246,  7562,  -15123,
                 20164,  -2521, 32767,  10082, -12603, 22685,  0,     -22685}},
           Case{DataType::kInt4, true, false, 0.24761904776096344f, 0, {-5, 3,  -2, 6,  1,  -5,
                                                                        3,  -2, 6,  1,  -4, 4,
                                                                        -1, 7,  2,  -3, 5,  -1,
                                                                        7,  2,  -3, 5,  0,  -5}},
           Case{DataType::kUint8, true, false, 0.014565826393663883f, 128, {40, 177, 89,  226, 138,
                                                                            50, 187, 99,  236, 148,
                                                                            59, 197, 108, 246, 157,
                                                                            69, 206, 118, 255, 167,
                                                                            79, 216, 128, 40}},
       }) {
    CAPTURE(name(c.type));
    const auto q = quantize_weights(
        w, kDims, std::nullopt,
        {.type = c.type, .symmetric = c.symmetric, .reduced = c.reduced, .ort_compat = true});
    REQUIRE(q.ok());
    CHECK(q->scales == std::vector<float>{c.scale});
    CHECK(q->zero_points == std::vector<int32_t>{c.zero_point});
    CHECK(codes(*q, w.size()) == c.q);
  }
}

TEST_CASE("weights: per channel on every axis, the middle one against onnxruntime") {
  const std::vector<float> w = sample_weights();
  const auto q = quantize_weights(w, kDims, 1, {});
  REQUIRE(q.ok());
  CHECK(q->scales ==
        std::vector<float>{0.013498312793672085f, 0.014623171649873257f, 0.012373453006148338f});
  CHECK(codes(*q, 24) == std::vector<int32_t>{-95, 53,  -42, 106, 10,  -78, 59, -29,
                                              127, 23,  -81, 81,  -21, 127, 32, -64,
                                              78,  -10, 127, 39,  -58, 104, 0,  -104});
  for (int64_t axis : {0, 1, 2, -1, -2, -3}) {
    for (const WeightOptions& o :
         {WeightOptions{}, WeightOptions{.type = DataType::kUint8, .symmetric = false}}) {
      const auto all = quantize_weights(w, kDims, axis, o);
      REQUIRE(all.ok());
      const int64_t a = axis < 0 ? axis + 3 : axis;
      CHECK(*all->axis == a);
      // Each channel alone gives the same.
      const int64_t stride = a == 0 ? 12 : a == 1 ? 4 : 1;
      const auto back = dequantize_weights(*all, kDims);
      for (int64_t c = 0; c < kDims[static_cast<size_t>(a)]; ++c) {
        std::vector<float> channel, channel_back;
        for (int64_t i = 0; i < 24; ++i) {
          if (i / stride % kDims[static_cast<size_t>(a)] != c) continue;
          channel.push_back(w[static_cast<size_t>(i)]);
          channel_back.push_back(back[static_cast<size_t>(i)]);
        }
        const std::vector<int64_t> flat = {static_cast<int64_t>(channel.size())};
        const auto alone = quantize_weights(channel, flat, std::nullopt, o);
        REQUIRE(alone.ok());
        CHECK(alone->scales[0] == all->scales[static_cast<size_t>(c)]);
        CHECK(alone->zero_points[0] == all->zero_points[static_cast<size_t>(c)]);
        CHECK(dequantize_weights(*alone, flat) == channel_back);
      }
    }
  }
}

TEST_CASE("weights: error is at most half a step, on long runs and long rows") {
  std::mt19937 g(1);
  std::normal_distribution<float> normal;
  std::vector<float> w(37 * 53);
  for (float& x : w) x = normal(g);
  const std::vector<int64_t> dims = {37, 53};
  for (std::optional<int64_t> axis :
       {std::optional<int64_t>(), std::optional<int64_t>(0), std::optional<int64_t>(1)}) {
    for (DataType type : {DataType::kInt8, DataType::kUint8, DataType::kInt16, DataType::kInt4,
                          DataType::kUint4, DataType::kInt2}) {
      CAPTURE(name(type));
      const auto q =
          quantize_weights(w, dims, axis, {.type = type, .symmetric = type != DataType::kUint4});
      REQUIRE(q.ok());
      CHECK(q->bytes.size() == size_bytes_of(type, w.size()));
      const auto back = dequantize_weights(*q, dims);
      for (size_t i = 0; i < w.size(); ++i) {
        const float step = q->scales[!axis ? 0 : *axis == 0 ? i / 53 : i % 53];
        // Half a step; a whole one at the ends of asymmetric and unsigned symmetric grids, whose
        // zero point was rounded.
        const float bound = type == DataType::kUint4 || type == DataType::kUint8 ? 1.001f : 0.501f;
        REQUIRE(std::fabs(back[i] - w[i]) <= bound * step);
      }
    }
  }
}

TEST_CASE("weights: 4-bit values are packed low nibble first") {
  const std::vector<float> w = {-7, 1, 7};
  const std::vector<int64_t> dims = {3};
  const auto q = quantize_weights(w, dims, std::nullopt, {.type = DataType::kInt4});
  REQUIRE(q.ok());
  CHECK(q->bytes == std::vector<uint8_t>{0x19, 0x07});
  CHECK(q->scales[0] == 1);
  CHECK(dequantize_weights(*q, dims) == w);
}

TEST_CASE("weights: zeros, nothing, and what is refused") {
  const std::vector<int64_t> dims = {2, 2};
  const auto zero_channel = quantize_weights(std::vector<float>{0, 0, 1, 2}, dims, 0, {});
  REQUIRE(zero_channel.ok());
  CHECK(zero_channel->scales[0] == 1);
  CHECK(zero_channel->bytes[0] == 0);
  const std::vector<int64_t> none = {0, 4};
  CHECK(quantize_weights({}, none, std::nullopt, {})->scales == std::vector<float>{1});
  CHECK(quantize_weights({}, none, 1, {})->scales == std::vector<float>{1, 1, 1, 1});
  CHECK(quantize_weights(std::vector<float>{0, 0, 1, std::nanf("")}, dims, 0, {}).error().message ==
        "weight 3 is NaN, expected a finite value");
  CHECK(quantize_weights(std::vector<float>{0, -std::numeric_limits<float>::infinity(), 1, 0}, dims,
                         std::nullopt, {})
            .error()
            .code == ErrorCode::kNotFinite);
  CHECK(quantize_weights(std::vector<float>{0, 0, 1, 1}, dims, 2, {}).error().message ==
        "axis is 2, but the weight has rank 2");
}

TEST_CASE("weights: reduced ranges are kept, also when clipped") {
  // Pair sums of u8 x s8 saturate beyond 64: clipping must not give larger values back.
  std::vector<float> w(200, 0.1f);
  w[0] = 1;
  const std::vector<int64_t> dims = {200};
  const auto q = quantize_weights(w, dims, std::nullopt, {.reduced = true, .mse_clip = true});
  REQUIRE(q.ok());
  CHECK(static_cast<int8_t>(q->bytes[0]) <= 64);
}

TEST_CASE("weights: mse_clip lowers the error, on every layout") {
  std::mt19937 g(2);
  std::normal_distribution<float> normal;
  std::vector<float> w(64 * 96);
  for (float& x : w) x = normal(g);
  const std::vector<int64_t> dims = {64, 96};
  const auto error = [&](const QuantizedWeights& q) {
    const auto back = dequantize_weights(q, dims);
    double sum = 0;
    for (size_t i = 0; i < w.size(); ++i) sum += (back[i] - w[i]) * (back[i] - w[i]);
    return sum;
  };
  for (std::optional<int64_t> axis :
       {std::optional<int64_t>(), std::optional<int64_t>(0), std::optional<int64_t>(1)}) {
    for (bool symmetric : {true, false}) {
      WeightOptions o{.type = DataType::kInt4, .symmetric = symmetric};
      const double plain = error(*quantize_weights(w, dims, axis, o));
      o.mse_clip = true;
      CHECK(error(*quantize_weights(w, dims, axis, o)) < 0.95 * plain);
    }
  }
  WeightOptions blocked{.type = DataType::kInt4};
  const double plain = error(*quantize_weights_blocked(w, dims, 0, 32, blocked));
  blocked.mse_clip = true;
  CHECK(error(*quantize_weights_blocked(w, dims, 0, 32, blocked)) < plain);
}

TEST_CASE("weights: blocks along an axis equal separate tensors; the last may be short") {
  std::mt19937 g(3);
  std::normal_distribution<float> normal;
  std::vector<float> w(2 * 5 * 3);
  for (float& x : w) x = normal(g);
  const std::vector<int64_t> dims = {2, 5, 3};
  const auto q =
      quantize_weights_blocked(w, dims, 1, 2, {.type = DataType::kInt8, .symmetric = false});
  REQUIRE(q.ok());
  CHECK(q->scales.size() == 2 * 3 * 3);
  const auto back = dequantize_weights(*q, dims);
  size_t p = 0;
  for (int64_t o = 0; o < 2; ++o)
    for (int64_t b = 0; b < 3; ++b)
      for (int64_t i = 0; i < 3; ++i, ++p) {
        std::vector<float> group, group_back;
        for (int64_t c = 2 * b; c < std::min<int64_t>(5, 2 * b + 2); ++c) {
          group.push_back(w[static_cast<size_t>((o * 5 + c) * 3 + i)]);
          group_back.push_back(back[static_cast<size_t>((o * 5 + c) * 3 + i)]);
        }
        const std::vector<int64_t> flat = {static_cast<int64_t>(group.size())};
        const auto alone = quantize_weights(group, flat, std::nullopt,
                                            {.type = DataType::kInt8, .symmetric = false});
        CHECK(alone->scales[0] == q->scales[p]);
        CHECK(alone->zero_points[0] == q->zero_points[p]);
        CHECK(dequantize_weights(*alone, flat) == group_back);
      }
  // Along the last axis.
  const auto last = quantize_weights_blocked(w, dims, -1, 2, {});
  REQUIRE(last.ok());
  CHECK(last->scales.size() == 2 * 5 * 2);
  CHECK(*last->axis == 2);
}

TEST_CASE("weights: 4-bit blocks, the asymmetric conformance vector, and a block of one sign") {
  const std::vector<float> w = {0.7f, -0.5f, 0.1f};
  const std::vector<int64_t> dims = {3};
  const WeightOptions o{.type = DataType::kUint4, .symmetric = false};
  const auto q = quantize_weights_blocked(w, dims, 0, 16, o);
  REQUIRE(q.ok());
  CHECK(q->scales[0] == doctest::Approx(0.08));
  CHECK(q->zero_points[0] == 6);
  CHECK(q->bytes == std::vector<uint8_t>{0x0f, 0x07});  // 15, 0, 7
  // Round-to-nearest without zero in the range, as others have it, decodes all of these to 1.
  const std::vector<float> positive = {1, 1.5f, 2};
  const auto p = quantize_weights_blocked(positive, dims, 0, 16, o);
  REQUIRE(p.ok());
  const auto back = dequantize_weights(*p, dims);
  for (size_t i = 0; i < 3; ++i) CHECK(std::fabs(back[i] - positive[i]) <= 0.501f * p->scales[0]);
}

TEST_CASE("bias: scale is the product, values are rounded to even") {
  const std::vector<float> w = {127, -127, 254, 0};
  const std::vector<int64_t> dims = {2, 2};
  auto q = *quantize_weights(w, dims, 0, {});
  const auto b = quantize_bias(std::vector<float>{1.25f, -3}, 0.5f, q, w, dims, {});
  REQUIRE(b.ok());
  CHECK(b->scales == std::vector<float>{0.5f, 1.0f});
  CHECK(b->values == std::vector<int32_t>{2, -3});
  CHECK(b->raised.empty());
}

TEST_CASE("bias: a weight scale too small for it is raised, and only that channel changes") {
  const std::vector<float> w = {1e-6f, -1e-7f, 0.5f, 1};
  const std::vector<int64_t> dims = {2, 2};
  const auto before = *quantize_weights(w, dims, 0, {});
  for (float act : {0.02f, 1e-3f, 0.37f}) {
    auto q = before;
    const std::vector<float> bias = {5, -2};
    const auto b = quantize_bias(bias, act, q, w, dims, {});
    REQUIRE(b.ok());
    CHECK(b->raised == std::vector<int64_t>{0});
    CHECK(q.scales[1] == before.scales[1]);
    CHECK(q.scales[0] > before.scales[0]);
    CHECK(std::vector<uint8_t>(q.bytes.begin() + 2, q.bytes.end()) ==
          std::vector<uint8_t>(before.bytes.begin() + 2, before.bytes.end()));
    for (size_t c = 0; c < 2; ++c) {
      CHECK(std::abs(static_cast<int64_t>(b->values[c])) <= kBiasLimit);
      CHECK(b->scales[c] == act * q.scales[c]);
      CHECK(std::fabs(b->values[c] * static_cast<double>(b->scales[c]) - bias[c]) <=
            0.501 * b->scales[c]);
    }
    // As little as possible.
    CHECK(std::abs(b->values[0]) > kBiasLimit - 1000);
    // The weights move by at most half a (larger) step.
    const auto back = dequantize_weights(q, dims);
    for (size_t i = 0; i < 2; ++i) CHECK(std::fabs(back[i] - w[i]) <= 0.501f * q.scales[0]);
  }
}

TEST_CASE("bias: per-tensor weights, unsigned weights, products that underflow") {
  const std::vector<int64_t> dims = {2, 2};
  const std::vector<float> tiny = {1e-9f, 2e-9f, -1e-9f, 0};
  auto per_tensor = *quantize_weights(tiny, dims, std::nullopt, {});
  const auto b = quantize_bias(std::vector<float>{1, -7}, 0.1f, per_tensor, tiny, dims, {});
  REQUIRE(b.ok());
  CHECK(b->raised == std::vector<int64_t>{0});
  CHECK(b->scales.size() == 1);
  CHECK(std::abs(static_cast<int64_t>(b->values[1])) <= kBiasLimit);

  const WeightOptions unsigned_weights{.type = DataType::kUint8, .symmetric = false};
  auto q = *quantize_weights(tiny, dims, 0, unsigned_weights);
  const std::vector<int32_t> zeros = q.zero_points;
  const auto u = quantize_bias(std::vector<float>{1, 1}, 0.1f, q, tiny, dims, unsigned_weights);
  REQUIRE(u.ok());
  CHECK(u->raised.size() == 2);
  CHECK(q.zero_points == zeros);

  const std::vector<float> small = {1e-30f, 1e-30f, 1e-30f, 1e-30f};
  auto s = *quantize_weights(small, dims, 0, {});
  const auto under = quantize_bias(std::vector<float>{0, 1}, 1e-20f, s, small, dims, {});
  REQUIRE(under.ok());
  CHECK(under->values[0] == 0);
  for (float scale : under->scales) CHECK(scale >= std::numeric_limits<float>::min());
  CHECK(quantize_bias(std::vector<float>{std::nanf(""), 1}, 1, s, small, dims, {}).error().code ==
        ErrorCode::kNotFinite);
}

TEST_CASE("bias: onnxruntime's guard, its conformance vector, and where it does nothing") {
  const float weight_scale = 7.843e-10f;
  const std::vector<float> w = {127 * weight_scale};
  const std::vector<int64_t> dims = {1, 1};
  const WeightOptions ort{.ort_compat = true};
  auto q = *quantize_weights(w, dims, 0, ort);
  q.scales[0] = weight_scale;
  const auto b = quantize_bias(std::vector<float>{5}, 0.5f, q, w, dims, ort);
  REQUIRE(b.ok());
  CHECK(q.scales[0] == doctest::Approx(4.6570785e-9).epsilon(1e-7));
  CHECK(q.scales[0] / weight_scale == doctest::Approx(5.937879).epsilon(1e-6));
  // Computed from the double scale the reference has 2147268920; scales are stored as float.
  CHECK(std::abs(b->values[0] - 2147268920) < 300);
  const WeightOptions u8{.type = DataType::kUint8, .symmetric = true, .ort_compat = true};
  auto u = *quantize_weights(w, dims, 0, u8);
  const auto clipped = quantize_bias(std::vector<float>{5}, 0.5f, u, w, dims, u8);
  REQUIRE(clipped.ok());
  CHECK(clipped->raised.empty());
  CHECK(clipped->values[0] == std::numeric_limits<int32_t>::max());
}

}  // namespace
}  // namespace onnxtool
