// A reference whose outputs are kept gives the figures that running it again gives.
#include "calib/compare/kept_reference.h"

#include "tests/quant/small_models.h"

namespace onnxtool {
namespace {

// y = x * w, with another w.
std::unique_ptr<Model> product_by(const std::string& w) {
  auto model = testing::parse(
      "<ir_version: 8, opset_import: [\"\" : 17]> g (float[2,2] x) => (float[2,2] y) "
      "<float[2,2] w = {" +
      w + "}> { y = MatMul (x, w) }");
  REQUIRE(infer_graph(model->graph()).ok());
  return model;
}

TEST_CASE("compare: what a reference gave is kept, and the figures are the same") {
  const auto reference = product_by("1, 2, 3, 4"), one = product_by("1, 2, 3, 4.5"),
             other = product_by("1, 2.5, 3, 4");
  const auto samples = testing::random_samples(*reference, 10);
  const RunOptions run = testing::cpu_run();
  const auto figure = [](const Result<ModelComparison>& compared) {
    REQUIRE(compared.ok());
    return *compared->outputs.at(0).second.value(Metric::kSqnr);
  };
  const uint64_t all_bytes = 10 * 4 * sizeof(float);
  for (const uint64_t most : {all_bytes, all_bytes - 1}) {
    KeptReference kept(reference->graph(), *samples, run, most);
    const auto compare = [&](const Model& test, int64_t count) {
      const SpreadSamples some(*samples, count);
      CHECK(figure(kept.compare(test.graph(), count, {})) ==
            figure(compare_models(reference->graph(), test.graph(), some, run, {})));
    };
    compare(*other, 3);
    CHECK(kept.runs_for(10) == 20);
    compare(*one, 10);
    CHECK(kept.runs_for(10) == (most == all_bytes ? 10 : 20));
    compare(*other, 10);
    compare(*other, 3);
    compare(*one, 7);
  }
}

}  // namespace
}  // namespace onnxtool
