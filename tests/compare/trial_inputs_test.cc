// Inputs drawn for comparisons reach both branches of an If.
#include "calib/compare/trial_inputs.h"

#include <doctest/doctest.h>

#include <cmath>
#include <set>

#include "libopt/analysis/seam.h"

namespace onnxtool {
namespace {

// What is drawn for a graph in text form, at opset 21.
TrialInputs trials_of(const std::string& graph) {
  auto model = parse_text("<ir_version: 10, opset_import: [\"\" : 21]> g " + graph);
  REQUIRE_MESSAGE(model.ok(), (model.ok() ? "" : model.error().message));
  auto trials = TrialInputs::of(**model);
  REQUIRE_MESSAGE(trials.ok(), (trials.ok() ? "" : trials.error().message));
  return *std::move(trials);
}

TEST_CASE("one-element booleans and integers are zero in one of two attempts") {
  const TrialInputs trials = trials_of(
      "(float[N,M] x, bool[N,1] mask, bool a, bool[1] b, int64 c, int32[1] d) => (float[N,M] y) "
      "{ y = Relu (x) }");
  const auto zero = [](const Tensor& t) { return t.to_ints().front() == 0; };
  const auto first = trials.make(0, false, false), second = trials.make(1, false, false);
  for (size_t i = 2; i < 6; ++i) {
    CAPTURE(i);
    CHECK(zero(first[i]) != zero(second[i]));
  }
  // Two booleans are not tied to each other.
  std::set<std::pair<bool, bool>> seen;
  for (int attempt = 0; attempt < 24; ++attempt) {
    const auto inputs = trials.make(attempt, false, false);
    seen.emplace(zero(inputs[2]), zero(inputs[3]));
  }
  CHECK(seen.size() == 4);
}

TEST_CASE("masks of a Softmax get a hidden row, other inputs none") {
  const TrialInputs trials = trials_of(
      "(float[2,3] x, float[2,3] mask, float[2,3] z) => (float[2,1,3] y) <int64[1] one = {1}> "
      "{ a = Mul (x, z) u = Unsqueeze (a, one) m = Unsqueeze (mask, one) s = Add (u, m) "
      "y = Softmax (s) }");
  auto inputs = trials.make(2, false, false);
  const auto before = inputs;
  trials.hide_last_rows(inputs);
  CHECK(inputs[0].to_doubles() == before[0].to_doubles());
  CHECK(inputs[2].to_doubles() == before[2].to_doubles());
  const auto mask = inputs[1].to_doubles();
  for (size_t i = 0; i < 6; ++i) CHECK(std::isinf(mask[i]) == (i >= 3));
}

// Models of images in any size leave the channels open too, which only one extent fits.
TEST_CASE("extents of inputs are those that weights settle") {
  struct Layer {
    std::string inputs, nodes;
    std::vector<int64_t> expected;  // of the first input; 0: any
  };
  const std::string weights =
      ", float[8,3,3,3] w, float[8,1,3,3] deep, float[5,7] m, float[7] v) => (y) { ";
  for (const Layer& layer :
       std::vector<Layer>{{"float[N,C,H,W] x", "y = Conv (x, w)", {0, 3, 0, 0}},
                          {"float[N,H,W,C] x",
                           "t = Transpose <perm = [0,3,1,2]> (x)  y = Conv (t, w)",
                           {0, 0, 0, 3}},
                          {"float[?,?,?,?] x", "r = Relu (x)  y = Conv (r, w)", {0, 3, 0, 0}},
                          {"float[N,C,H,W] x", "y = Conv <group = 4> (x, deep)", {0, 4, 0, 0}},
                          {"float[N,T,K] x", "t = Tanh (x)  y = MatMul (t, m)", {0, 0, 5}},
                          {"float[N,K] x", "y = MatMul (x, v)", {0, 7}},
                          {"float[N,K] x", "y = MatMul (m, x)", {7, 0}},
                          {"float[N,K] x", "y = Gemm <transB = 1> (x, m)", {0, 7}},
                          {"float[N,K] x", "y = Relu (x)", {0, 0}}}) {
    CAPTURE(layer.nodes);
    const TrialInputs trials = trials_of("(" + layer.inputs + weights + layer.nodes + " }");
    bool varies = false;
    for (int attempt = 0; attempt < 4; ++attempt) {
      const auto dims = trials.make(attempt, false, false)[0].dims();
      for (size_t axis = 0; axis < dims.size(); ++axis) {
        if (layer.expected[axis] > 0) CHECK(dims[axis] == layer.expected[axis]);
        varies |=
            layer.expected[axis] == 0 && dims[axis] != trials.make(0, false, false)[0].dims()[axis];
      }
    }
    CHECK(varies);
  }
}

std::vector<std::vector<int64_t>> extents_of_attempts(const std::string& input) {
  const TrialInputs trials =
      trials_of("(float[" + input + "] x) => (float[" + input + "] y) { y = Relu (x) }");
  std::vector<std::vector<int64_t>> out;
  for (int attempt = 0; attempt < 8; ++attempt)
    out.push_back(trials.make(attempt, false, false)[0].dims());
  return out;
}

TEST_CASE("extents are smaller where static ones make inputs large") {
  for (const auto& dims : extents_of_attempts("N,M,1024,1024")) {
    CAPTURE(dims[0]);
    CAPTURE(dims[1]);
    CHECK(dims[0] * dims[1] <= 3);
  }
  // Batches give way to the room that images want.
  CHECK(extents_of_attempts("N,64,H,W")[5] == std::vector<int64_t>{1, 64, 112, 112});
  CHECK(extents_of_attempts("N,3,H,W")[5] == std::vector<int64_t>{2, 3, 224, 224});
}

}  // namespace
}  // namespace onnxtool
