// Scales behind GlobalAveragePool that integer kernels take.

#include "quant/pool_scales.h"

#include "libopt/target/pool_limits.h"
#include "tests/quant/small_models.h"

namespace onnxtool {
namespace {

using testing::all_layers;
using testing::numbers;
using testing::Quantized;

// Averages of about 1e-8: nothing behind an InstanceNormalization has a mean.
std::string pooled_model(const std::string& shape, const std::string& behind = "t = Relu (p)") {
  return "<ir_version: 8, opset_import: [\"\" : 13]> g (float" + shape +
         " x) => (float y) <float[4,4,1,1] w = {" + numbers(16) + "}, float[4,4,1,1] v = {" +
         numbers(16, 0.5) +
         "}, float[4] one = {1.0, 1.0, 1.0, 1.0}, float[4] zero = {0.0, 0.0, 0.0, 0.0}> { c = Conv "
         "(x, w) n = InstanceNormalization (c, one, zero) d = Conv (n, v) p = GlobalAveragePool "
         "(d) " +
         behind + " y = Conv (t, w) }";
}

float scale_beside(const Node& qdq) { return qdq.input(1).constant()->values<float>()[0]; }

// x_scale and y_scale of the pool, past what stands behind it.
std::pair<float, float> pool_scales(const Quantized& q) {
  for (const Node& n : q.output.model->graph().nodes()) {
    if (!n.is("GlobalAveragePool")) continue;
    const Node* behind = n.output(0).uses()[0].user;
    while (!behind->is("QuantizeLinear")) behind = behind->output(0).uses()[0].user;
    return {scale_beside(*n.input(0).producer()), scale_beside(*behind)};
  }
  return {0, 0};
}

TEST_CASE("quantized: averages that are nearly zero get a scale that integer kernels take") {
  QuantizeOptions in_float = all_layers();
  in_float.exclude = *Selector::parse({"op:GlobalAveragePool"});
  QuantizeOptions compat = all_layers();
  compat.ort_compat = true;
  for (const QuantizeOptions& options : {all_layers(), in_float, compat})
    for (const char* behind : {"t = Relu (p)", "t = Transpose <perm = [0, 1, 3, 2]> (p)"}) {
      INFO(std::string(behind));
      const Quantized q = testing::quantize(pooled_model("[1,4,16,16]", behind), options);
      const auto [x_scale, y_scale] = pool_scales(q);
      CHECK(x_scale > 0);
      CHECK(global_pool_takes(x_scale, y_scale, 256));
      CHECK(x_scale / (y_scale * 256) > 200);  // and no larger than needed
      REQUIRE(q.output.emitted.notes.size() == 1);
      CHECK(q.output.emitted.notes[0].find("limit of integer kernels") != std::string::npos);
    }
}

TEST_CASE("quantized: scales behind GlobalAveragePool are bounded on both sides, ranges as well") {
  for (const char* shape : {"[1,4,16,16]", "[1,4,H,W]"}) {
    INFO(std::string(shape));
    const bool open = std::string_view(shape).ends_with("H,W]");
    const auto quantizer = Quantizer::create(testing::parse(pooled_model(shape)), all_layers());
    REQUIRE(quantizer.ok());
    const Placement& placement = quantizer->placement();
    const auto bounded = [&](float scale) {
      std::vector<TensorParams> params(placement.tensors.size());
      for (size_t i = 0; i < params.size(); ++i)
        params[i].params = {placement.tensors[i].value->name() == "t" ? scale : 0x1p-8F, 3};
      for (TensorParams& p : params) p.range = {-1, 2};
      const auto notes = bound_pool_scales(quantizer->prepared().graph(), placement, params);
      for (size_t i = 0; i < params.size(); ++i)
        if (placement.tensors[i].value->name() == "t") {
          CHECK(notes.empty() == (params[i].params.scale == scale));
          CHECK(params[i].params.zero_point == 3);
          CHECK(params[i].range.max ==
                doctest::Approx(2 * static_cast<double>(params[i].params.scale / scale)));
          return params[i].params.scale;
        }
      return 0.0F;
    };
    CHECK(bounded(0x1p-10F) == 0x1p-10F);
    for (const float scale : {0x1p-40F, 0x1p30F}) {
      CHECK(bounded(scale) != scale);
      CHECK(global_pool_takes(0x1p-8F, bounded(scale), 256));
      if (!open) continue;
      CHECK(global_pool_takes(0x1p-8F, bounded(scale), 1));
      CHECK(global_pool_takes(0x1p-8F, bounded(scale), kPoolPixelsEnd - 1));
    }
  }
}

}  // namespace
}  // namespace onnxtool
