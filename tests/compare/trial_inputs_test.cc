// Inputs drawn for comparisons reach both branches of an If.
#include "calib/compare/trial_inputs.h"

#include <doctest/doctest.h>

#include <set>

#include "libopt/analysis/seam.h"

namespace onnxtool {
namespace {

TEST_CASE("one-element booleans and integers are zero in one of two attempts") {
  auto model = parse_text(
      "<ir_version: 10, opset_import: [\"\" : 21]> g (float[N,M] x, bool[N,1] mask, bool a, "
      "bool[1] b, int64 c, int32[1] d) => (float[N,M] y) "
      "{ y = Relu (x) }");
  REQUIRE(model.ok());
  const auto trial = TrialInputs::of(**model);
  REQUIRE(trial.ok());
  const auto zero = [](const Tensor& t) { return t.to_ints().front() == 0; };
  const auto first = trial->make(0, false, false), second = trial->make(1, false, false);
  for (size_t i = 2; i < 6; ++i) {
    CAPTURE(i);
    CHECK(zero(first[i]) != zero(second[i]));
  }
  // Two booleans are not tied to each other.
  std::set<std::pair<bool, bool>> seen;
  for (int attempt = 0; attempt < 24; ++attempt) {
    const auto inputs = trial->make(attempt, false, false);
    seen.emplace(zero(inputs[2]), zero(inputs[3]));
  }
  CHECK(seen.size() == 4);
}

}  // namespace
}  // namespace onnxtool
