// What a plan says of operators and types that nothing runs.
#include <doctest/doctest.h>

#include "calib/exec/plan.h"
#include "calib/kernels/cpu/cpu_kernels.h"
#include "libopt/analysis/seam.h"

namespace onnxtool {
namespace {

Error refusal(const std::string& graph) {
  auto model = parse_text(
      "<ir_version: 8, opset_import: [\"\" : 17, \"mine\" : 3, "
      "\"onnxtool.plan\" : 1]> " +
      graph);
  REQUIRE_MESSAGE(model.ok(), (model.ok() ? "" : model.error().message));
  PlanOptions options;
  options.kernel_sets = {&cpu_kernel_set()};
  const auto plan = Plan::compile((*model)->graph(), options);
  REQUIRE(!plan.ok());
  CHECK(plan.error().code == ErrorCode::kUnsupported);
  return plan.error();
}

}  // namespace

TEST_CASE("operators without a kernel are named with their first node and what is close") {
  const Error e = refusal(
      "g (float[2] x) => (float[2] y) {[first] a = Sigmoidd (x) b = Sigmoidd (a) y = "
      "mine.Nothing (b)}");
  CHECK(e.message ==
        "no kernel for Sigmoidd (opset 17) of node #1, Sigmoidd (opset 17, float) of node 'first', "
        "mine.Nothing (opset 3) of node #2");
  CHECK(e.hint.starts_with("Sigmoidd is close to Sigmoid"));
}

TEST_CASE("an operator of another element type is told the types that run") {
  const Error e = refusal("g (string[2] x) => (string[2] y) {y = Det (x)}");
  CHECK(e.message == "no kernel for Det (opset 17, string) of node #0");
  CHECK(e.hint.starts_with("Det runs on "));
  CHECK(e.hint.find("float16") != std::string::npos);
}

TEST_CASE("operators of plans alone are no model's, and no hint offers them") {
  const Error exact = refusal(
      "g (float[1,1,8,4] q) => (float[1,1,8,4] y) {y = onnxtool.plan.HeadAttention (q, q, q)}");
  CHECK(exact.message == "no kernel for onnxtool.plan.HeadAttention (opset 1, float) of node #0");
  CHECK(exact.hint.find("runs on float") == std::string::npos);
  const Error close = refusal(
      "g (float[1,1,8,4] q) => (float[1,1,8,4] y) {y = onnxtool.plan.HeadAttentio (q, q, q)}");
  CHECK(close.hint.find("onnxtool.plan.HeadAttention") == std::string::npos);
}

}  // namespace onnxtool
