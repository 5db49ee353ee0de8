// What the report of quantize says of a result that is worth little.

#include "apps/quantize_report.h"

#include "tests/quant/small_models.h"

namespace onnxtool {
namespace {

Section compared_with(const std::string& result) {
  const auto text = [](const std::string& node) {
    return "<ir_version: 8, opset_import: [\"\" : 13]> g (float[4] x) => (float[4] y) "
           "<float k = {0.9}> { y = " +
           node + " }";
  };
  const auto model = testing::parse(text("Identity (x)")), test = testing::parse(text(result));
  const auto samples = testing::random_samples(*model);
  auto compared =
      compare_models(model->graph(), test->graph(), *samples, testing::cpu_run(), {});
  REQUIRE(compared.ok());
  return accuracy_section(*compared, "random data", false);
}

TEST_CASE("quantize's report: an output that lost most of its values is a warning") {
  const Section poor = compared_with("Neg (x)");
  REQUIRE(poor.notes.size() == 1);
  CHECK(poor.notes[0].starts_with("warning: output 'y' is at -6.02 dB"));
  CHECK(compared_with("Mul (x, k)").notes.empty());  // 20 dB
}

}  // namespace
}  // namespace onnxtool
