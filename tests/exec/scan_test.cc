// Loop and Scan on what is no plain number, and on bodies that do not fit.
#include <doctest/doctest.h>

#include "calib/exec/plan.h"
#include "calib/kernels/cpu/cpu_kernels.h"
#include "libopt/analysis/seam.h"

namespace onnxtool {
namespace {

Result<std::vector<Tensor>> run_text(const std::string& text, const std::vector<Tensor>& inputs) {
  ONNXTOOL_ASSIGN(const auto model, parse_text(text));
  (void)infer_graph(model->graph());
  PlanOptions options;
  options.kernel_sets = {&cpu_kernel_set()};
  ONNXTOOL_ASSIGN(const auto plan, Plan::compile(model->graph(), options));
  RunContext context(plan);
  std::vector<Tensor> outputs;
  ONNXTOOL_TRY(context.run(inputs, &outputs));
  return outputs;
}

using Strings = std::vector<std::string>;

}  // namespace

TEST_CASE("Scan slices and stacks strings, backwards too") {
  const auto out = run_text(
      R"(<ir_version: 10, opset_import: ["" : 21]> g (string[2, 3] x, string[2] s) => (string[2] last, string[2, 3] all) {
    last, all = Scan <num_scan_inputs = 1, scan_input_axes = [1], scan_output_axes = [1], scan_output_directions = [1],
                      body = b (string[2] state, string[2] slice) => (string[2] joined, string[2] out) {
      joined = StringConcat (state, slice)   out = Identity (slice) }> (s, x) })",
      {Tensor::from_strings({2, 3}, {"a", "b", "c", "d", "e", "f"}),
       Tensor::from_strings({2}, {"<", ">"})});
  REQUIRE_MESSAGE(out.ok(), (out.ok() ? "" : out.error().message));
  CHECK((*out)[0].strings() == Strings{"<abc", ">def"});
  CHECK((*out)[1].strings() == Strings{"c", "b", "a", "f", "e", "d"});
  CHECK((*out)[1].dims() == std::vector<int64_t>{2, 3});
}

TEST_CASE("bodies with fewer outputs than their node asks for are errors") {
  const auto error_of = [](const std::string& text) {
    const auto out = run_text(text, {Tensor::from<float>({2}, std::vector<float>{1, 2})});
    CHECK(!out.ok());
    return out.ok() ? "" : out.error().message;
  };
  CHECK(
      error_of(
          R"(<ir_version: 10, opset_import: ["" : 21]> g (float[2] x) => (float[2] y, float[2] z) {
    n = Constant <value = int64 {2}> ()   c = Constant <value = bool {1}> ()
    y, z = Loop (n, c, x) <body = b (int64 i, bool go, float[2] v) => (bool more, float[2] w) { more = Identity (go)   w = Neg (v) }> })")
          .find("the body has 3 inputs and 2 outputs, expected 3 and at least 3") !=
      std::string::npos);
  CHECK(
      error_of(
          R"(<ir_version: 10, opset_import: ["" : 21]> g (float[2] x) => (float[2] y, float[2] z) {
    y, z = Scan <num_scan_inputs = 1, body = b (float v) => (float w) { w = Neg (v) }> (x) })")
          .find("the body has 1 outputs for 0 states and 2 results") != std::string::npos);
}

}  // namespace onnxtool
