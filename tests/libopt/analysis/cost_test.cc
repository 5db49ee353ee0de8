// Multiply-accumulates against counts done by hand, and the live set of small graphs.
#include "libopt/analysis/cost.h"

#include <doctest/doctest.h>

#include "libopt/analysis/seam.h"

namespace onnxtool {
namespace {

std::unique_ptr<Model> inferred(const std::string& body) {
  auto model = parse_text("<ir_version: 10, opset_import: [\"\" : 23]> g " + body);
  REQUIRE_MESSAGE(model.ok(), model.error().message);
  REQUIRE(infer_graph((*model)->graph()).ok());
  return *std::move(model);
}

std::optional<int64_t> macs(const std::string& body) {
  const auto model = inferred(body);
  std::optional<int64_t> sum = 0;
  for (const Node& n : model->graph().nodes()) {
    const auto own = macs_of(n);
    sum = own && sum ? std::optional(*own + *sum) : std::nullopt;
  }
  return sum;
}

TEST_CASE("macs: one multiplication and one addition count as one") {
  // 4 x 6 x 6 outputs, each of 3 x 3 x 3 weights.
  CHECK(macs("(float[1,3,8,8] x, float[4,3,3,3] w) => (float[1,4,6,6] y) { y = Conv (x, w) }") ==
        4 * 6 * 6 * 27);
  // Depthwise: one channel a filter.
  CHECK(macs("(float[1,4,8,8] x, float[4,1,3,3] w) => (float[1,4,6,6] y) { y = Conv <group = 4> "
             "(x, w) }") == 4 * 6 * 6 * 9);
  CHECK(macs("(float[1,3,4,4] x, float[3,5,2,2] w) => (float[1,5,5,5] y) { y = ConvTranspose (x, "
             "w) }") == 3 * 16 * 20);
  CHECK(macs("(float[7,2,3] a, float[7,3,5] b) => (float[7,2,5] y) { y = MatMul (a, b) }") ==
        7 * 2 * 3 * 5);
  CHECK(macs("(float[3,2] a, float[3,5] b) => (float[2,5] y) { y = Gemm <transA = 1> (a, b) }") ==
        2 * 3 * 5);
  CHECK(macs("(float[2,3] a, float[3,5] b) => (float[2,5] y) { y = Einsum <equation = \"ij, jk -> "
             "ik\"> (a, b) }") == 2 * 3 * 5);
  // 5 steps, batch 2; 4 gates of 3 hidden units; W [1, 12, 6], R [1, 12, 3].
  CHECK(macs("(float[5,2,6] x, float[1,12,6] w, float[1,12,3] r) => (float[5,1,2,3] y) "
             "{ y = LSTM <hidden_size = 3> (x, w, r) }") == 5 * 2 * 12 * (6 + 3));
  CHECK(macs("(float[1,2,5,8] q, float[1,2,7,8] k, float[1,2,7,4] v) => (float[1,2,5,4] y) "
             "{ y = Attention (q, k, v) }") == 2 * 5 * 7 * (8 + 4));
  CHECK(macs("(float[4] x) => (float[4] y) { y = Relu (x) }") == 0);
  CHECK(macs("(float[N,3] a, float[3,5] b) => (float[N,5] y) { y = MatMul (a, b) }") ==
        std::nullopt);
}

TEST_CASE("activation memory: values live from where they are made to their last reader") {
  // x 16, a 16, b 16, y 16 bytes; x dies behind a, a behind y.
  const auto model =
      inferred("(float[4] x) => (float[4] y) { a = Relu (x)  b = Neg (a)  y = Add (a, b) }");
  const ActivationMemory m = activation_memory(model->graph());
  REQUIRE(m.steps.size() == 3);
  CHECK(m.steps[0].live_bytes == 32);
  CHECK(m.steps[1].live_bytes == 32);
  CHECK(m.steps[2].live_bytes == 48);
  CHECK(m.peak_bytes == 48);
  CHECK(m.peak->is("Add"));
  CHECK(m.total_bytes == 64);
  CHECK(m.unknown == 0);
}

TEST_CASE("activation memory: what is not read dies at once, what is unknown is counted") {
  const auto model = inferred(
      "(float[N] x, float[4] z) => (float[4] y) { a = Neg (z)  b = Relu (x)  y = Abs (z) }");
  const ActivationMemory m = activation_memory(model->graph());
  CHECK(m.unknown == 2);
  CHECK(m.steps[0].live_bytes == 32);
  CHECK(m.steps[2].live_bytes == 32);
}

TEST_CASE("activation memory: subgraphs read outer values") {
  const auto model = inferred(
      "(bool c, float[4] x) => (float[4] y) { a = Neg (x)  b = Relu (x) "
      "y = If (c) <then_branch = t () => (float[4] u) { u = Abs (a) }, else_branch = e () => "
      "(float[4] v) { v = Abs (b) }> }");
  const ActivationMemory m = activation_memory(model->graph());
  REQUIRE(m.steps.size() == 3);
  CHECK(m.steps[2].live_bytes == 1 + 16 + 16 + 16);
}

}  // namespace
}  // namespace onnxtool
