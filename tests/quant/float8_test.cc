// 8-bit floats: scales, saturation, and the models that are made of them.

#include "quant/float8.h"

#include <random>
#include <set>

#include "calib/ranges/float8.h"
#include "tests/quant/small_models.h"

namespace onnxtool {
namespace {

using testing::all_layers;
using testing::numbers;
using testing::parse;
using testing::quantize;

constexpr DataType kBoth[] = {DataType::kFloat8E4M3FN, DataType::kFloat8E5M2};

TEST_CASE("float8: rounding without a code is rounding to a code and back") {
  std::mt19937 random(1);
  std::uniform_real_distribution<float> exponent(-20, 8.8f);
  for (const DataType type : kBoth) {
    const QuantScheme scheme = float8_scheme(type);
    for (int i = 0; i < 20000; ++i) {
      const float y = (i % 2 ? 1.0f : -1.0f) * std::exp2(exponent(random));
      if (std::abs(y) > static_cast<float>(scheme.qmax)) continue;
      CAPTURE(y);
      REQUIRE(nearest_float8(y, scheme) == decode_float8(encode_float8(y, 1, scheme), 1, type));
    }
    // Ties go to the even code, as 17 between 16 and 18 does with three bits of mantissa.
    CHECK(nearest_float8(17, float8_scheme(DataType::kFloat8E4M3FN)) == 16);
    CHECK(nearest_float8(19, float8_scheme(DataType::kFloat8E4M3FN)) == 20);
    CHECK(nearest_float8(0, scheme) == 0);
  }
}

TEST_CASE("float8: values beyond the largest saturate, they become neither NaN nor infinite") {
  for (const DataType type : kBoth) {
    const QuantScheme scheme = float8_scheme(type);
    const auto largest = static_cast<float>(scheme.qmax);
    for (const float x : {1e9f, -1e9f, largest * 1.5f}) {
      const float back = decode_float8(encode_float8(x, 0.5f, scheme), 0.5f, type);
      CHECK(back == std::copysign(largest / 2, x));
    }
  }
  CHECK(float8_scheme(DataType::kFloat8E4M3FN).qmax == 448);
  CHECK(float8_scheme(DataType::kFloat8E5M2).qmax == 57344);
}

TEST_CASE("float8: weights have a scale per channel, each with the least error") {
  std::vector<float> w;
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  for (int c = 0; c < 4; ++c)
    for (int i = 0; i < 64; ++i) w.push_back(std::ldexp(normal(random), -5 * c));
  const std::vector<int64_t> dims = {4, 64};
  for (const DataType type : kBoth) {
    WeightOptions options;
    options.type = type;
    const auto q = quantize_weights(w, dims, 0, options);
    REQUIRE(q.ok());
    CHECK(q->scales.size() == 4);
    CHECK(std::ranges::count(q->zero_points, 0) == 4);
    CHECK(q->scales[0] > 4 * q->scales[1]);
    const std::vector<float> back = dequantize_weights(*q, dims);
    for (int c = 0; c < 4; ++c) {
      double energy = 0, error = 0, plain = 0;
      float absmax = 0;
      for (int i = 64 * c; i < 64 * (c + 1); ++i)
        absmax = std::max(absmax, std::abs(w[static_cast<size_t>(i)]));
      const QuantScheme scheme = float8_scheme(type);
      const float widest = absmax / static_cast<float>(scheme.qmax);
      for (size_t i = 64 * static_cast<size_t>(c); i < 64 * static_cast<size_t>(c + 1); ++i) {
        const auto square = [](float x) { return static_cast<double>(x) * static_cast<double>(x); };
        energy += square(w[i]);
        error += square(w[i] - back[i]);
        plain += square(w[i] - decode_float8(encode_float8(w[i], widest, scheme), widest, type));
      }
      CHECK(error <= plain * 1.000001);
      CHECK(10 * std::log10(energy / error) > (type == DataType::kFloat8E4M3FN ? 28 : 22));
    }
  }
  WeightOptions options;
  options.type = DataType::kFloat8E4M3FN;
  const std::vector<float> zeros(8, 0.0f), bad = {1, NAN};
  REQUIRE(quantize_weights(zeros, std::vector<int64_t>{2, 4}, 0, options).ok());
  CHECK(!quantize_weights(bad, std::vector<int64_t>{2}, std::nullopt, options).ok());
}

std::string layers() {
  return "<ir_version: 8, opset_import: [\"\" : 13]> g (float[2,4,6,6] x) => (float y) "
         "<float[8,4,3,3] w = {" +
         numbers(288) + "}, float[8] b = {" + numbers(8) + "}, float[1,8,4,4] c = {" +
         numbers(128, 3) + "}, float[8,16] m = {" + numbers(128) +
         "}> { p = Conv (x, w, b) r = Relu (p) s = Add (r, c) a = GlobalAveragePool (s) "
         "f = Flatten (a) y = Gemm (f, m) }";
}

TEST_CASE("float8: a model of them has opset 19, float biases and no zero point but 0") {
  for (const DataType type : kBoth)
    for (const Calibrator calibrator :
         {Calibrator::kMinMax, Calibrator::kMse, Calibrator::kPercentile}) {
      QuantizeOptions o = all_layers();
      o.target = &kPortable;
      o.activation_type = DataType::kFloat8E4M3FN;
      o.weight_type = type;
      o.calibrator.calibrator = calibrator;
      const auto q = quantize(layers(), o);
      CHECK(q.sqnr_db > 20);
      CHECK(q.output.model->opset("") == 19);
      CHECK(q.output.model->ir_version >= 9);
      std::set<DataType> types;
      for (const Node& n : q.output.model->graph().nodes()) {
        if (n.is("Conv")) CHECK(n.input(2).constant());
        if (!n.is("DequantizeLinear") && !n.is("QuantizeLinear")) continue;
        types.insert(n.input(2).constant()->dtype());
        for (const double z : n.input(2).constant()->to_doubles()) CHECK(z == 0);
      }
      CHECK(types == std::set<DataType>{DataType::kFloat8E4M3FN, type});
    }
}

TEST_CASE("float8: a Shape reads floats, since no kernel takes the shape of the others") {
  QuantizeOptions o = all_layers();
  o.target = &kPortable;
  o.activation_type = o.weight_type = DataType::kFloat8E4M3FN;
  const auto model = [](const std::string& batch) {
    return parse(
        "<ir_version: 8, opset_import: [\"\" : 13]> g (float[" + batch +
        ",4,8,8] x) => (float y) <float[4,4,1,1] w = {" + numbers(16) +
        "}> { c = Conv (x, w) s = Shape (c) d = Conv (c, w) f = Flatten (d) y = Reshape (f, "
        "s) }");
  };
  const auto samples = testing::random_samples(*model("1"));
  auto quantizer = Quantizer::create(model("N"), o);
  REQUIRE(quantizer.ok());
  REQUIRE(quantizer->calibrate(*samples, testing::cpu_run()).ok());
  const auto made = quantizer->emit(samples.get(), testing::cpu_run());
  REQUIRE(made.ok());
  int shapes = 0;
  for (const Node& n : made->model->graph().nodes()) {
    if (!n.is("Shape")) continue;
    ++shapes;
    CHECK(n.input(0).type().dtype == DataType::kFloat);
  }
  CHECK(shapes == 1);
}

TEST_CASE("float8: entropy is of integers, and the automatic choice leaves it out") {
  QuantizeOptions o = all_layers();
  o.target = &kPortable;
  o.activation_type = o.weight_type = DataType::kFloat8E4M3FN;
  o.calibrator.automatic = true;
  const auto q = quantize(layers(), o);
  CHECK(q.output.trials.size() == 3);
  Summary s(Summary::Mode::kHistogram);
  s.add(std::vector<float>{1, 2, 3});
  CHECK(!calibrate(Calibrator::kEntropy, s, float8_scheme(DataType::kFloat8E4M3FN)).ok());
}

}  // namespace
}  // namespace onnxtool
