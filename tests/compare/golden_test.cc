#include "calib/compare/golden.h"

#include <doctest/doctest.h>

namespace onnxtool {
namespace {

Golden one_sample() {
  Golden g;
  g.model = "a.onnx";
  g.model_kind = "float";
  g.model_sha256 = std::string(64, 'a');
  g.gates = {"sqnr=30", "y:max-abs=0.5"};
  g.atol = 0.25;
  g.inputs = {{"x", DataType::kFloat}};
  g.outputs = {{"y", DataType::kFloat}};
  g.samples = {{"0.safetensors", "0", 3, std::string(64, 'b')}};
  return g;
}

std::string replaced(const std::string& from, const std::string& to) {
  std::string text = format_golden(one_sample());
  const size_t at = text.find(from);
  REQUIRE_MESSAGE(at != std::string::npos, from, " in ", text);
  return text.replace(at, from.size(), to);
}

TEST_CASE("golden.toml is read as it was written") {
  const auto g = parse_golden(format_golden(one_sample()), "golden.toml");
  REQUIRE(g.ok());
  CHECK(g->gates == one_sample().gates);
  CHECK(g->atol == 0.25);
  CHECK_FALSE(g->rtol);
  CHECK(g->samples[0].label == 3);
  CHECK(parse_golden(replaced("atol = 0.25", "atol = 1"), "g")->atol == 1);
}

TEST_CASE("a slip in golden.toml is an error, not a limit less") {
  const auto message = [](const std::string& from, const std::string& to) {
    const auto g = parse_golden(replaced(from, to), "golden.toml");
    return g.ok() ? "read" : g.error().message;
  };
  CHECK(message("limits = ", "limit = ") == "golden.toml: no key 'gates.limit' is known");
  CHECK(message("[gates]", "[gate]") == "golden.toml: no key 'gate' is known");
  CHECK(message("limits = [ 'sqnr=30', 'y:max-abs=0.5' ]", "limits = 'sqnr=300'") ==
        "golden.toml: gates.limits is no list of strings");
  CHECK(message("'sqnr=30'", "30") == "golden.toml: gates.limits is no list of strings");
  for (const char* band : {"inf", "nan", "-1"})
    CHECK(message("atol = 0.25", std::string("atol = ") + band) ==
          "golden.toml: gates.atol is no size of a band");
  CHECK(message("atol = 0.25", "atol = '0.25'") ==
        "golden.toml: gates.atol is no number that fits");
  CHECK(message("sha256 = '" + std::string(64, 'b') + "'", "") ==
        "golden.toml: sample '0.safetensors' has no sha256");
  CHECK(message(std::string(64, 'b'), "b") == "golden.toml: sample '0.safetensors' has no sha256");
  CHECK(message("label = 3", "lable = 3") == "golden.toml: no key 'samples.lable' is known");
  CHECK(message("file = 'a.onnx'", "file = 1") == "golden.toml: model.file is no string");
  CHECK(message("kind = 'float'", "kind = 'fp32'") ==
        "golden.toml: model.kind is 'fp32', expected float, float16 or int8");
  CHECK(message("file = '0.safetensors'", "file = \"0.safetensors\\u0000\"")
            .starts_with("golden.toml: sample file '0.safetensors"));
}

}  // namespace
}  // namespace onnxtool
