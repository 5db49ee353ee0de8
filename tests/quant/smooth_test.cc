// Channels of what products read, evened out before calibration.

#include "quant/smooth.h"

#include <random>

#include "tests/quant/small_models.h"

namespace onnxtool {
namespace {

std::string random_numbers(int count, uint64_t seed) {
  std::mt19937_64 engine(seed);
  std::normal_distribution<float> draw;
  std::string text;
  for (int i = 0; i < count; ++i) text += (i ? ", " : "") + std::to_string(draw(engine));
  return text;
}

// Two channels of 64 reach a hundred times as far as the others, as in language models.
std::string with_outliers(const std::string& tail) {
  std::string scale;
  for (int i = 0; i < 64; ++i) scale += (i ? ", " : "") + std::string(i % 32 == 5 ? "100" : "1.0");
  return "<ir_version: 8, opset_import: [\"\" : 17]> g (float[2,16,64] x) => (float y) <float[64] "
         "scale = {" +
         scale + "}, float[64] bias = {" + random_numbers(64, 1) + "}, float[64,64] w = {" +
         random_numbers(64 * 64, 2) + "}, float[64,64] v = {" + random_numbers(64 * 64, 3) +
         "}, float[64] b = {" + random_numbers(64, 4) +
         "}> { n = LayerNormalization (x, scale, bias) " + tail + " }";
}

double made(const std::string& tail, std::optional<Smoothing> smoothing, int values,
            int threads = 1) {
  QuantizeOptions options = testing::all_layers();
  options.smooth = smoothing;
  auto model = testing::parse(with_outliers(tail));
  const auto samples = testing::random_samples(*model);
  auto quantizer = Quantizer::create(std::move(model), options);
  REQUIRE(quantizer.ok());
  const auto before = quantizer->prepared().clone();
  RunOptions run = testing::cpu_run();
  run.threads = threads;
  REQUIRE(quantizer->smooth(*samples, run).ok());
  CHECK(quantizer->smoothed_values() == values);
  // In float nothing but rounding changes, and no node is added.
  CHECK(quantizer->prepared().graph().num_nodes() == before->graph().num_nodes());
  const auto same =
      compare_models(before->graph(), quantizer->prepared().graph(), *samples, run, {});
  REQUIRE(same.ok());
  CHECK(same->outputs[0].second.value(Metric::kSqnr).value_or(200) > 110);
  REQUIRE(quantizer->calibrate(*samples, run).ok());
  const auto out = quantizer->emit(samples.get(), run);
  REQUIRE(out.ok());
  const auto compared = compare_models(before->graph(), out->model->graph(), *samples, run, {});
  REQUIRE(compared.ok());
  return compared->outputs[0].second.value(Metric::kSqnr).value_or(0);
}

TEST_CASE("smooth: outliers of what products read cost little once they are evened out") {
  for (const std::string tail :
       {"y = MatMul (n, w)", "p = MatMul (n, w) q = MatMul (n, v) y = Add (p, q)",
        "p = MatMul (n, w) y = Add (p, b)"}) {
    CAPTURE(tail);
    const double plain = made(tail, std::nullopt, 0), chosen = made(tail, Smoothing{}, 1),
                 half = made(tail, Smoothing{0.5}, 1);
    CHECK(chosen > plain + 3);
    CHECK(half > plain + 3);
    CHECK(made(tail, Smoothing{}, 1, 3) == chosen);
  }
}

TEST_CASE("smooth: what others read too, and what nothing can divide, stays") {
  for (const std::string tail :
       {"p = MatMul (n, w) y = Add (p, n)", "s = Sigmoid (n) y = MatMul (s, w)"})
    CHECK(made(tail, Smoothing{}, 0) == made(tail, std::nullopt, 0));
  // Even channels are left alone unless a strength is given.
  const std::string even = "m = LayerNormalization (x, b, b) y = MatMul (m, w)";
  CHECK(made("k = Identity (n) " + even, Smoothing{0.5}, 1) > 20);
}

}  // namespace
}  // namespace onnxtool
