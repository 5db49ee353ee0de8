// Bias correction: mean errors are measured by channel, and taken off.

#include "quant/bias_correction.h"

#include "calib/compare/channel_errors.h"
#include "tests/quant/small_models.h"

namespace onnxtool {
namespace {

using testing::all_layers;
using testing::cpu_run;
using testing::numbers;

// Positive inputs of a layer whose weights share one coarse scale: each output is off by the sum of
// what rounding did to its weights.
std::string coarse_layer(bool bias) {
  return "<ir_version: 8, opset_import: [\"\" : 17]> g (float[2,8,4,4] x) => (float "
         "y)\n<float[4,8,1,1] w = {40, " +
         numbers(31, 0.4) + "}" + (bias ? ", float[4] b = {0.1, 0.2, 0.3, 0.4}" : "") +
         "> {\n p = Exp (x)\n [conv] y = Conv (p, w" + (bias ? ", b" : "") + ") }";
}

TEST_CASE("bias correction: less error, with a bias and without") {
  for (const bool bias : {true, false}) {
    QuantizeOptions options = all_layers();
    options.per_channel = false;
    std::unique_ptr<Model> model = testing::parse(coarse_layer(bias));
    const auto samples = testing::random_samples(*model, 16);
    auto quantizer = Quantizer::create(std::move(model), options);
    REQUIRE(quantizer.ok());
    REQUIRE(quantizer->calibrate(*samples, cpu_run()).ok());
    auto out = quantizer->emit(samples.get(), cpu_run());
    REQUIRE(out.ok());
    const Graph& reference = quantizer->prepared().graph();
    const auto errors = [&] {
      const std::vector<LayerPair> pairs = {{reference.find("y"), out->model->graph().find("y")}};
      auto e = channel_errors(reference, out->model->graph(), pairs, *samples, cpu_run());
      REQUIRE(e.ok());
      REQUIRE((*e)[0].size() == 4);
      double largest = 0;
      for (const double x : (*e)[0]) largest = std::max(largest, std::fabs(x));
      return largest;
    };
    const double before = errors();
    const auto done = quantizer->correct_biases(*out, *samples, cpu_run());
    REQUIRE_MESSAGE(done.ok(), (done.ok() ? "" : done.error().message));
    CHECK(done->kept);
    CHECK(done->layers == 1);
    CHECK(done->after_db > done->before_db);
    CHECK(errors() < 0.2 * before);
    CHECK(out->model->graph().find(bias ? "b_corrected_quantized" : "y_bias_corrected_quantized"));
  }
}

}  // namespace
}  // namespace onnxtool
