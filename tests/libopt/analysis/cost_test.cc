// Multiply-accumulates against counts done by hand, and the live set of small graphs.
#include "libopt/analysis/cost.h"

#include <doctest/doctest.h>

#include <filesystem>

#include "libopt/analysis/seam.h"
#include "libopt/io/load.h"
#include "tests/support/data_set.h"

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

TEST_CASE("macs: Attention of three axes, shared heads and earlier keys") {
  // 4 heads of 4 and 3; K and V have 2 of them.
  const std::string flat = "(float[1,5,16] q, float[1,7,8] k, float[1,7,6] v";
  CHECK(macs(flat + ") => (y) { y = Attention <q_num_heads = 4, kv_num_heads = 2> (q, k, v) }") ==
        4 * 5 * 7 * (4 + 3));
  CHECK(macs(flat + ", float[1,2,9,4] pk, float[1,2,9,3] pv) => (y, a, b) { y, a, b = Attention "
                    "<q_num_heads = 4, kv_num_heads = 2> (q, k, v, , pk, pv) }") ==
        4 * 5 * (7 + 9) * (4 + 3));
  CHECK(macs("(float[1,4,5,8] q, float[1,2,7,8] k, float[1,2,7,4] v) => (y) { y = Attention (q, k, "
             "v) }") == 4 * 5 * 7 * (8 + 4));
}

TEST_CASE("macs: axes that an ellipsis of Einsum stands for are loops too") {
  const auto einsum = [](const std::string& equation, const std::string& shapes) {
    return macs("(" + shapes + ") => (y) { y = Einsum <equation = \"" + equation + "\"> (a, b) }");
  };
  CHECK(einsum("...ij,...jk->...ik", "float[7,2,3] a, float[7,3,5] b") == 7 * 2 * 3 * 5);
  CHECK(einsum("...ij,jk", "float[7,2,3] a, float[3,5] b") == 7 * 2 * 3 * 5);
  CHECK(einsum("i...,...", "float[4,7,2] a, float[1,2] b") == 4 * 7 * 2);
}

TEST_CASE("macs: what optimizers make of matrix products and attention") {
  const auto fused = [](const std::string& body) {
    auto model =
        parse_text("<ir_version: 10, opset_import: [\"\" : 20, \"com.microsoft\" : 1]> g " + body);
    REQUIRE_MESSAGE(model.ok(), (model.ok() ? "" : model.error().message));
    REQUIRE(infer_graph((*model)->graph()).ok());
    return macs_of(*(*model)->graph().nodes().begin());
  };
  CHECK(fused("(float[7,3,2] a, float[7,3,5] b) => (float[7,2,5] y) "
              "{ y = com.microsoft.FusedMatMul <transA = 1> (a, b) }") == 7 * 2 * 3 * 5);
  // 6 in, 8 wide, 5 long.
  CHECK(fused("(float[1,5,6] x, float[6,24] w, float[24] b) => (float[1,5,8] y) "
              "{ y = com.microsoft.Attention <num_heads = 2> (x, w, b) }") ==
        5 * 6 * 24 + 5 * 5 * (8 + 8));
  // Scales and zero points come before what earlier steps left: 2 heads of 4, 9 steps.
  const std::string codes =
      "(uint8[1,5,6] x, int8[6,24] w, float[24] b, float xs, float ws, int32[1] m, uint8 xz, int8 "
      "wz, float[2,1,2,9,4] past) => (float[1,5,8] y) { y = com.microsoft.QAttention "
      "<num_heads = 2> (x, w, b, xs, ws";
  CHECK(fused(codes + ") }") == 5 * 6 * 24 + 5 * 5 * (8 + 8));
  CHECK(fused(codes + ", m, xz, wz, past) }") == 5 * 6 * 24 + 5 * (5 + 9) * (8 + 8));
  CHECK(fused("(float[1,5,8] q, float[1,7,8] k, float[1,7,8] v) => (float[1,5,8] y) "
              "{ y = com.microsoft.MultiHeadAttention <num_heads = 2> (q, k, v) }") ==
        5 * 7 * (8 + 8));
  CHECK(
      fused("(float[1,5,8] q, float[1,5,4] k, float[1,5,4] v, float[1,1,9,4] pk, float[1,1,9,4] "
            "pv, int32[1] l, int32 t) => (float[1,5,8] y) { y = com.microsoft.GroupQueryAttention "
            "<num_heads = 2, kv_num_heads = 1> (q, k, v, pk, pv, l, t) }") ==
      5 * (5 + 9) * (8 + 8));
}

TEST_CASE("macs: every layer of real models that compute their shapes, once inputs are settled") {
  const std::filesystem::path models = testing::shared_data("models");
  if (models.empty()) return;
  for (const auto& [name, extent] : {std::pair("fsanet_1x1", 1),
                                     {"gpt2_past", 1},
                                     {"ppocr_rec_en_number", 32},
                                     {"ultraface_rfb320", 1},
                                     {"nnsplit_en", 32}}) {
    INFO(std::string(name));
    auto model = load_model((models / name / "model.onnx").string());
    REQUIRE(model.ok());
    Graph& graph = (*model)->graph();
    for (Value* v : graph.values()) {
      ValueType type = v->type();
      if (!type.shape) continue;
      for (Dim& d : *type.shape)
        if (!d.value) d = v->is_graph_input() ? Dim::of(extent) : Dim();
      v->set_type(std::move(type));
    }
    CHECK(infer_graph(graph).ok());
    for (const Node& n : graph.nodes()) CHECK_MESSAGE(macs_of(n).has_value(), n.describe());
  }
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

TEST_CASE("activation memory: a Constant node is no more than an initializer") {
  const auto peak = [](const std::string& graph) {
    const auto model = inferred(graph);
    return activation_memory(model->graph()).peak_bytes;
  };
  CHECK(peak("(float[4] x) => (float[4] y) <float[4] c = {1, 2, 3, 4}> { y = Add (x, c) }") == 32);
  CHECK(peak("(float[4] x) => (float[4] y) { c = Constant <value = float[4] {1, 2, 3, 4}> () "
             "y = Add (x, c) }") == 32);
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
