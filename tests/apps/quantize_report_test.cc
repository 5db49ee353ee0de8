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
  auto compared = compare_models(model->graph(), test->graph(), *samples, testing::cpu_run(), {});
  REQUIRE(compared.ok());
  return accuracy_section(*compared, "random data", false);
}

TEST_CASE("quantize's report: an output that lost most of its values is a warning") {
  const Section poor = compared_with("Neg (x)");
  REQUIRE(poor.notes.size() == 1);
  CHECK(poor.notes[0].starts_with("warning: output 'y' is at -6.02 dB"));
  CHECK(compared_with("Mul (x, k)").notes.empty());  // 20 dB
}

TEST_CASE("quantize's report: what no counts tell of a tensor's error is not there") {
  QuantizeOptions options = testing::all_layers();
  const std::string text =
      "<ir_version: 8, opset_import: [\"\" : 13]> g (float[2,8] x) => (float y) <float[8,8] w = {" +
      testing::numbers(64) + "}> { y = MatMul (x, w) }";
  for (const bool counts : {false, true}) {
    CAPTURE(counts);
    options.calibrator.calibrator = counts ? Calibrator::kMse : Calibrator::kMinMax;
    const auto q = testing::quantize(text, options);
    const Section s = static_section(q.quantizer, &q.output);
    const auto tensors = std::ranges::find(s.tables, "tensors", &Table::key);
    REQUIRE(tensors != s.tables.end());
    REQUIRE(!tensors->rows.empty());
    for (const auto& row : tensors->rows) CHECK(std::holds_alternative<double>(row[5]) == counts);
  }
}

}  // namespace
}  // namespace onnxtool
