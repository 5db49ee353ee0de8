// What stands between DequantizeLinear and QuantizeLinear runs on integers, within a step of the
// floats.
#include <doctest/doctest.h>

#include <random>

#include "calib/exec/plan.h"
#include "calib/kernels/cpu/cpu_kernels.h"
#include "libopt/analysis/seam.h"
#include "libopt/ir/model.h"

namespace onnxtool {
namespace {

// x [1,2,4,4] is quantized with (xs, xz); `body` reads xd, its floats, and makes `result`, which is
// quantized with (ys, yz) to y.
std::string with_body(const std::string& body, const std::string& result,
                      const std::string& initializers = "", const std::string& y_type = "uint8[]") {
  return "<ir_version: 8, opset_import: [\"\" : 17]>\ng (float[1,2,4,4] x) => (" + y_type +
         " y)\n"
         "<float xs = {0.02}, uint8 xz = {128}, float ys = {0.05}, uint8 yz = {0}, uint8 ymid = "
         "{100}" +
         initializers +
         ">\n{ xq = QuantizeLinear (x, xs, xz)  xd = DequantizeLinear (xq, xs, xz)\n" + body +
         "\n" + result + " }";
}

struct Outcome {
  std::vector<int64_t> codes;
  std::string kernels;
};

Outcome run(const std::string& text, bool integers) {
  auto model = parse_text(text);
  REQUIRE_MESSAGE(model.ok(), (model.ok() ? "" : model.error().message));
  REQUIRE(infer_graph((*model)->graph()).ok());
  PlanOptions options;
  options.kernel_sets = {&cpu_kernel_set()};
  options.integers = integers;
  const auto plan = Plan::compile((*model)->graph(), options);
  REQUIRE_MESSAGE(plan.ok(), (plan.ok() ? "" : plan.error().message));
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  std::vector<float> x(32);
  for (float& v : x) v = normal(random);
  RunContext context(*plan);
  std::vector<Tensor> outputs;
  const Status ran =
      context.run(std::vector<Tensor>{Tensor::from<float>({1, 2, 4, 4}, x)}, &outputs);
  REQUIRE_MESSAGE(ran.ok(), (ran.ok() ? "" : ran.error().message));
  return {outputs[0].to_ints(), (*plan)->describe_kernels()};
}

// The steps that run with integers, and that no result is more than a step away from the floats'.
void check(const std::string& text, int steps) {
  INFO(text);
  const Outcome integers = run(text, true), floats = run(text, false);
  CHECK(integers.kernels == "cpu: " + std::to_string(steps) + (steps == 1 ? " step" : " steps"));
  CHECK(floats.kernels != integers.kernels);
  REQUIRE(integers.codes.size() == floats.codes.size());
  size_t equal = 0;
  for (size_t i = 0; i < floats.codes.size(); ++i) {
    CHECK(std::abs(integers.codes[i] - floats.codes[i]) <= 1);
    equal += integers.codes[i] == floats.codes[i];
  }
  // Averages of few codes tie often, and integer kernels round ties as onnxruntime's do.
  CHECK(10 * equal >= 8 * floats.codes.size());
}

// As check(), for what must not run with integers: the plan is the same with and without.
void check_stays(const std::string& text) {
  INFO(text);
  const Outcome with = run(text, true), without = run(text, false);
  CHECK(with.kernels == without.kernels);
  CHECK(with.codes == without.codes);
}

const std::string kWeights =
    ", int8[3,2,1,1] w = {50, -3, 100, 27, -127, 5}, float[3] ws = {0.01, 0.02, 0.005}, int8[3] wz "
    "= {0, 0, 0},"
    " int32[3] b = {100, -300, 7}, float[3] bs = {0.0002, 0.0004, 0.0001}, int32[3] bz = {0, 0, 0}";
const std::string kConvOfCodes =
    "wd = DequantizeLinear <axis = 0> (w, ws, wz)  bd = DequantizeLinear <axis = 0> (b, bs, bz)  c "
    "= Conv (xd, wd, bd)";

}  // namespace

TEST_CASE("integer groups: a convolution with its bias, and an activation that saturation covers") {
  check(with_body(kConvOfCodes, "y = QuantizeLinear (c, ys, ymid)", kWeights), 2);
  check(with_body(kConvOfCodes, "r = Relu (c)  y = QuantizeLinear (r, ys, yz)", kWeights), 2);
  check(with_body(kConvOfCodes, "r = Clip (c, low, high)  y = QuantizeLinear (r, ys, yz)",
                  kWeights + ", float low = {0.0}, float high = {100.0}"),
        2);
}

TEST_CASE("integer groups: a pool whose scales the integer kernel refuses stays with floats") {
  const std::string pool = "p = GlobalAveragePool (xd)";
  check(with_body(pool, "y = QuantizeLinear (p, ys, ymid)"), 2);
  check_stays(with_body(pool, "y = QuantizeLinear (p, tiny, ymid)", ", float tiny = {1e-7}"));
}

TEST_CASE("integer groups: products with constants, quantized behind or not") {
  const std::string weight =
      ", int8[4,3] m = {1, 2, 3, 40, 50, -60, 70, 8, 90, -100, 11, 12}, float[3] ms = {0.01, 0.02, "
      "0.03}, int8[3] mz = {0, 0, 0}";
  const std::string md = "md = DequantizeLinear <axis = 1> (m, ms, mz)  ";
  check(with_body(md + "p = MatMul (xd, md)", "y = QuantizeLinear (p, ys, ymid)", weight), 2);
  // Two readers: the result is float, the product is not.
  const std::string text = with_body(md + "p = MatMul (xd, md)  s = Add (p, p)",
                                     "y = QuantizeLinear (s, ys, ymid)", weight);
  check(text, 4);
}

TEST_CASE("integer groups: codes pass by what only moves them, or keeps the largest") {
  const std::string weight =
      ", int8[4,3] m = {1, 2, 3, 40, 50, -60, 70, 8, 90, -100, 11, 12}, float ms = {0.01}, int8 mz "
      "= {0}, int64[2] rows = {-1, 4}";
  const std::string md = "md = DequantizeLinear (m, ms, mz)  ";
  check(with_body(md + "r = Reshape (xd, rows)  p = MatMul (r, md)",
                  "y = QuantizeLinear (p, ys, ymid)", weight),
        3);
  check(with_body(md + "t = Transpose <perm = [0, 1, 3, 2]> (xd)  r = Reshape (t, rows)  "
                       "p = MatMul (r, md)",
                  "y = QuantizeLinear (p, ys, ymid)", weight),
        4);
  const std::string pooled = "s = MaxPool <kernel_shape = [2, 2]> (xd)  c = Conv (s, wd, bd)";
  check(with_body("wd = DequantizeLinear <axis = 0> (w, ws, wz)  bd = DequantizeLinear <axis = 0> "
                  "(b, bs, bz)  " +
                      pooled,
                  "y = QuantizeLinear (c, ys, ymid)", kWeights),
        3);
  // One reader wants the floats.
  check_stays(
      with_body("t = Transpose <perm = [0, 1, 3, 2]> (xd)  u = Transpose <perm = [0, 1, 3, "
                "2]> (t)  p = MatMul (u, t)  e = Exp (t)  s = Add (p, e)",
                "y = QuantizeLinear (s, ys, ymid)"));
}

TEST_CASE("integer groups: sums, unary operators and movements of codes") {
  check(with_body("s = Add (xd, xd)", "y = QuantizeLinear (s, ys, ymid)"), 2);
  check(with_body("s = Mul (xd, xd)", "y = QuantizeLinear (s, ys, ymid)"), 2);
  check(with_body("s = Sigmoid (xd)", "y = QuantizeLinear (s, xs, yz)"), 2);
  check(with_body("s = LeakyRelu (xd)", "y = QuantizeLinear (s, ys, ymid)"), 2);
  check(with_body("s = Concat <axis = 1> (xd, xd)", "y = QuantizeLinear (s, ys, ymid)"), 2);
  check(with_body("s = GlobalAveragePool (xd)", "y = QuantizeLinear (s, xs, xz)"), 2);
  check(with_body("k = DequantizeLinear (kq, ys, ymid)  s = Where (which, xd, k)",
                  "y = QuantizeLinear (s, ys, ymid)",
                  ", uint8 kq = {90}, bool[2,1,1] which = {1, 0}"),
        2);
  check(with_body("s = AveragePool <kernel_shape = [2, 2]> (xd)", "y = QuantizeLinear (s, xs, xz)"),
        2);
  check(with_body("s = MaxPool <kernel_shape = [2, 2]> (xd)", "y = QuantizeLinear (s, xs, xz)"), 2);
  check(with_body("s = Transpose <perm = [0, 2, 3, 1]> (xd)", "y = QuantizeLinear (s, xs, xz)"), 2);
}

TEST_CASE("integer groups: what would change the result stays in floats") {
  // The codes change their meaning on the way.
  check_stays(
      with_body("s = Transpose <perm = [0, 2, 3, 1]> (xd)", "y = QuantizeLinear (s, ys, yz)"));
  // Negative values survive saturation, or large ones do.
  check_stays(with_body(kConvOfCodes, "r = Relu (c)  y = QuantizeLinear (r, ys, ymid)", kWeights));
  check_stays(with_body(kConvOfCodes, "r = Clip (c, low, high)  y = QuantizeLinear (r, ys, yz)",
                        kWeights + ", float low = {0.0}, float high = {1.0}"));
  // A bias that counts in other steps than the sums.
  std::string other = kWeights;
  other.replace(other.find("0.0004"), 6, "0.0008");
  check_stays(with_body(kConvOfCodes, "y = QuantizeLinear (c, ys, ymid)", other));
  // A negative scale turns the order of the codes around.
  check_stays(
      with_body("nq = QuantizeLinear (xd, neg, xz)  nd = DequantizeLinear (nq, neg, xz)  "
                "s = MaxPool <kernel_shape = [2, 2]> (nd)",
                "y = QuantizeLinear (s, neg, xz)", ", float neg = {-0.1}"));
  // One side of a Where is no codes.
  check_stays(with_body("s = Where (which, xd, k)", "y = QuantizeLinear (s, ys, ymid)",
                        ", float k = {0.5}, bool[2,1,1] which = {1, 0}"));
  // Softmax has no integer kernel here.
  check_stays(with_body("s = Softmax (xd)", "y = QuantizeLinear (s, ys, yz)"));
}

TEST_CASE("integer groups: a watched float is made as the graph states it") {
  auto model = parse_text(with_body(kConvOfCodes, "y = QuantizeLinear (c, ys, ymid)", kWeights));
  REQUIRE(model.ok());
  REQUIRE(infer_graph((*model)->graph()).ok());
  PlanOptions options;
  options.kernel_sets = {&cpu_kernel_set()};
  options.watched.push_back((*model)->graph().find("c"));
  const auto plan = Plan::compile((*model)->graph(), options);
  REQUIRE(plan.ok());
  CHECK((*plan)->describe_kernels() == "cpu: 6 steps");
}

}  // namespace onnxtool
