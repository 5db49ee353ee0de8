// What a plan fuses where nobody watches: the same values as without, and one step instead of many.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "calib/exec/modules.h"
#include "calib/exec/plan.h"
#include "calib/kernels/cpu/cpu_kernels.h"
#include "libopt/analysis/seam.h"
#include "libopt/io/load.h"

namespace onnxtool {
namespace {

struct Ran {
  std::vector<Tensor> outputs;
  std::vector<std::string> operators;
};

Tensor random_tensor(std::vector<int64_t> dims, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 2);
  int64_t count = 1;
  for (const int64_t d : dims) count *= d;
  std::vector<std::byte> bytes(static_cast<size_t>(count) * sizeof(float));
  for (size_t i = 0; i < bytes.size(); i += sizeof(float)) {
    const float v = normal(random);
    std::memcpy(bytes.data() + i, &v, sizeof v);
  }
  return Tensor::from_bytes(DataType::kFloat, std::move(dims), std::move(bytes));
}

Ran run(const std::string& text, const std::vector<std::vector<int64_t>>& dims, bool fuse,
        const std::string& watched, bool modules) {
  auto model = parse_text(text);
  REQUIRE_MESSAGE(model.ok(), (model.ok() ? "" : model.error().message));
  REQUIRE(infer_graph((*model)->graph()).ok());
  PlanOptions options;
  options.kernel_sets = {&cpu_kernel_set()};
  if (modules) options.kernel_sets = load_kernel_sets("auto")->sets;
  options.fuse = fuse;
  if (!watched.empty()) options.watched = {(*model)->graph().find(watched)};
  auto plan = Plan::compile((*model)->graph(), options);
  REQUIRE_MESSAGE(plan.ok(), (plan.ok() ? "" : plan.error().message));
  RunContext context(*plan);
  context.enable_profile();
  std::vector<Tensor> inputs;
  for (size_t i = 0; i < dims.size(); ++i)
    inputs.push_back(random_tensor(dims[i], static_cast<uint32_t>(i + 1)));
  Ran out;
  const Status s = context.run(inputs, &out.outputs);
  REQUIRE_MESSAGE(s.ok(), (s.ok() ? "" : s.error().message));
  for (const StepTime& t : context.profile()) out.operators.push_back(t.operators);
  return out;
}

// Fused into these steps, with values that are close to the unfused ones; not fused where `inner`
// is watched. The model declares its input with `dims`, or as `declared` says.
void check(const std::string& body, const std::string& constants,
           const std::vector<std::string>& steps, const std::string& inner,
           const std::vector<int64_t>& dims, const std::string& result,
           const std::string& declared = "") {
  const auto shape = [](const std::vector<int64_t>& d) {
    std::string s = "float[";
    for (size_t i = 0; i < d.size(); ++i) s += (i ? "," : "") + std::to_string(d[i]);
    return s + "]";
  };
  const std::string text = "<ir_version: 8, opset_import: [\"\" : 17]> g (" +
                           (declared.empty() ? shape(dims) : declared) + " x) => (" + result +
                           " y) <" + constants + "> {" + body + "}";
  CAPTURE(body);
  for (const bool modules : {false, true}) {
    const Ran fused = run(text, {dims}, true, "", modules),
              plain = run(text, {dims}, false, "", modules);
    CHECK(fused.operators == steps);
    CHECK(plain.operators.size() > steps.size());
    const auto a = fused.outputs[0].values<float>(), b = plain.outputs[0].values<float>();
    REQUIRE(a.size() == b.size());
    for (size_t i = 0; i < a.size(); ++i)
      CHECK(std::abs(a[i] - b[i]) <= 2e-5f * std::max(1.0f, std::abs(b[i])));
    CHECK(run(text, {dims}, true, inner, modules).operators != steps);
  }
}

TEST_CASE("LayerNormalization in parts is one step") {
  const std::string constants =
      "float two = {2.0}, float eps = {0.00001}, float[4] s = {1.0, 2.0, 0.5, -1.0}, float[4] b = "
      "{0.0, 1.0, 2.0, 3.0}";
  const std::string head = "m = ReduceMean <axes = [-1]> (x) d = Sub (x, m) ";
  const std::string tail =
      " v = ReduceMean <axes = [-1]> (q) e = Add (v, eps) r = Sqrt (e) n = Div (d, r) t = Mul (n, "
      "s) y = Add (t, b)";
  check(head + "q = Pow (d, two)" + tail, constants, {"LayerNormalization"}, "q", {2, 3, 4},
        "float[2,3,4]");
  check(head + "q = Mul (d, d)" + tail, constants, {"LayerNormalization"}, "t", {2, 3, 4},
        "float[2,3,4]");
  check(head + "d2 = Sub (x, m) q = Pow (d2, two)" + tail, constants, {"LayerNormalization"}, "d2",
        {3, 4}, "float[3,4]");
  check(head +
            "q = Mul (d, d) v = ReduceMean <axes = [-1]> (q) e = Add (eps, v) r = Sqrt (e) n = Div "
            "(d, r) t = Mul (s, n) y = Relu (t)",
        constants, {"LayerNormalization", "Relu"}, "n", {3, 4}, "float[3,4]");
}

TEST_CASE("Gelu in parts is one step") {
  const std::string constants =
      "float half = {0.5}, float one = {1.0}, float root = {1.4142135}, float inverse = "
      "{0.70710677}, float c = {0.044715}, float k = {0.7978845608}, float three = {3.0}";
  check("i = Div (x, root) f = Erf (i) p = Add (f, one) t = Mul (x, p) y = Mul (t, half)",
        constants, {"Gelu"}, "t", {2, 5}, "float[2,5]");
  check("h = Mul (x, half) i = Mul (x, inverse) f = Erf (i) p = Add (one, f) y = Mul (h, p)",
        constants, {"Gelu"}, "h", {2, 5}, "float[2,5]");
  check("i = Div (x, root) f = Erf (i) p = Add (f, one) t = Mul (half, p) y = Mul (x, t)",
        constants, {"Gelu"}, "p", {2, 5}, "float[2,5]");
  check(
      "h = Mul (x, half) w = Pow (x, three) u = Mul (w, c) a = Add (x, u) i = Mul (a, k) f = Tanh "
      "(i) p = Add (f, one) y = Mul (h, p)",
      constants, {"Gelu"}, "u", {2, 5}, "float[2,5]");
}

TEST_CASE("HardSwish and HardSigmoid in parts follow a convolution") {
  const std::string constants =
      "float[2,2,1,1] w = {1.0, 2.0, -1.0, 0.5}, float three = {3.0}, float zero = {0.0}, float "
      "six = {6.0}, float sixth = {0.16666667}";
  const std::string head = "c = Conv (x, w) a = Add (c, three) l = Clip (a, zero, six) ";
  check(head + "d = Div (l, six) y = Mul (c, d)", constants, {"Conv + HardSwish"}, "d",
        {1, 2, 3, 3}, "float[1,2,3,3]");
  check(head + "d = Mul (sixth, l) y = Mul (d, c)", constants, {"Conv + HardSwish"}, "l",
        {1, 2, 3, 3}, "float[1,2,3,3]");
  check(head + "d = Mul (c, l) y = Div (d, six)", constants, {"Conv + HardSwish"}, "a",
        {1, 2, 3, 3}, "float[1,2,3,3]");
  check(head + "y = Div (l, six)", constants, {"Conv + HardSigmoid"}, "l", {1, 2, 3, 3},
        "float[1,2,3,3]");
}

TEST_CASE("a bias follows a matrix product, and what comes next follows the bias") {
  const std::string constants =
      "float[4,3] w = {1.0, 2.0, -1.0, 0.5, 1.0, 2.0, -1.0, 0.5, 1.0, 2.0, -1.0, 0.5}, float[3] b "
      "= {1.0, -2.0, 3.0}";
  check("p = MatMul (x, w) y = Add (p, b)", constants, {"MatMul + Add"}, "p", {2, 5, 4},
        "float[2,5,3]");
  check("p = MatMul (x, w) t = Add (b, p) y = Relu (t)", constants, {"MatMul + Add + Relu"}, "t",
        {2, 5, 4}, "float[2,5,3]");
}

TEST_CASE("a product with a constant that is transposed first is one step") {
  check("t = Transpose <perm = [1, 0]> (w) y = MatMul (x, t)",
        "float[3,4] w = {1.0, 2.0, -1.0, 0.5, 1.0, 2.0, -1.0, 0.5, 1.0, 2.0, -1.0, 0.5}",
        {"FusedMatMul"}, "t", {2, 5, 4}, "float[2,5,3]");
}

TEST_CASE("attention in parts is one step, with the transpositions around it") {
  const std::string constants =
      "float k = {0.5}, float[1,1,1,5] m = {0.0, -1.0, 0.0, -1000000000.0, 0.25}";
  const std::string rows_first =
      "q = Transpose <perm = [0, 2, 1, 3]> (x) t = Transpose <perm = [0, 2, 3, 1]> (x) v = "
      "Transpose <perm = [0, 2, 1, 3]> (x) s = MatMul (q, t) ";
  check(rows_first +
            "c = Mul (s, k) a = Add (c, m) p = Softmax (a) w = MatMul (p, v) y = "
            "Transpose <perm = [0, 2, 1, 3]> (w)",
        constants, {"HeadAttention"}, "p", {1, 5, 2, 4}, "float[b,5,2,4]", "float[b,5,2,4]");
  check(rows_first + "a = Add (m, s) p = Softmax (a) y = MatMul (p, v)", constants,
        {"HeadAttention"}, "a", {1, 5, 2, 4}, "float[b,2,5,4]", "float[b,5,2,4]");
  // More queries than one task takes.
  check(
      "t = Transpose <perm = [0, 1, 3, 2]> (x) s = MatMul (x, t) c = Div (s, k) p = Softmax "
      "<axis = 3> (c) y = MatMul (p, x)",
      constants, {"HeadAttention"}, "s", {2, 3, 100, 4}, "float[b,3,100,4]", "float[b,3,100,4]");
  // Extents that are known, one more key than a tile holds, and more than one.
  for (const std::string rows : {"7", "33", "49", "130"}) {
    const std::string type = "float[2,3," + rows + ",40]";
    check(
        "t = Transpose <perm = [0, 1, 3, 2]> (x) s = MatMul (x, t) p = Softmax (s) y = MatMul "
        "(p, x)",
        "float unused = {0.0}", {"HeadAttention"}, "s", {2, 3, std::stoll(rows), 40}, type, type);
  }
}

TEST_CASE("a query that a mask hides from every key gives NaN, fused or not") {
  const std::string text =
      "<ir_version: 8, opset_import: [\"\" : 17]> g (float[b,1,2,2] x) => (float[b,1,2,2] y) "
      "<float[1,1,2,2] z = {0.0, 0.0, 1.0, 1.0}> {m = Log (z) t = Transpose <perm = [0, 1, 3, 2]> "
      "(x) s = MatMul (x, t) a = Add (s, m) p = Softmax (a) y = MatMul (p, x)}";
  for (const bool fuse : {true, false}) {
    const Ran ran = run(text, {{1, 1, 2, 2}}, fuse, "", false);
    CHECK(ran.operators.size() == (fuse ? 2 : 6));
    const auto y = ran.outputs[0].values<float>();
    CHECK(std::isnan(y[0]));
    CHECK(std::isnan(y[1]));
    CHECK(std::isfinite(y[2]));
  }
}

TEST_CASE("what only looks like attention stays as it is") {
  const auto steps = [](const std::string& body, const std::string& result) {
    return run("<ir_version: 8, opset_import: [\"\" : 17]> g (float[b,1,3,4] x) => (" + result +
                   " y) <float[1,2,3,3] m = {1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 1.0, "
                   "2.0, "
                   "3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0}, float[1,1,3,1] n = {1.0, 2.0, 3.0}> {t = "
                   "Transpose <perm = [0, 1, 3, 2]> (x) s = MatMul (x, t) " +
                   body + "}",
               {{2, 1, 3, 4}}, true, "", false)
        .operators.size();
  };
  // The mask makes more heads of one, then of one for each key; the axis is another one; somebody
  // else reads the probabilities.
  CHECK(steps("a = Add (s, m) p = Softmax (a) y = MatMul (p, x)", "float[b,2,3,4]") == 5);
  CHECK(steps("a = Add (s, n) p = Softmax (a) y = MatMul (p, x)", "float[b,1,3,4]") == 5);
  CHECK(steps("p = Softmax <axis = 2> (s) y = MatMul (p, x)", "float[b,1,3,4]") == 4);
  CHECK(steps("p = Softmax (s) w = MatMul (p, x) u = ReduceMax (p) y = Add (w, u)",
              "float[b,1,3,4]") == 6);
}

TEST_CASE("what only looks like an operator in parts stays as it is") {
  const auto steps = [](const std::string& body, const std::string& constants) {
    return run("<ir_version: 8, opset_import: [\"\" : 17]> g (float[2,4] x) => (float[2,4] y) <" +
                   constants + "> {" + body + "}",
               {{2, 4}}, true, "", false)
        .operators.size();
  };
  // The square is a cube; the mean is over another axis; 1.4 is no square root of 2; 0.4 is no
  // half.
  CHECK(steps("m = ReduceMean <axes = [-1]> (x) d = Sub (x, m) q = Pow (d, p) v = ReduceMean <axes "
              "= [-1]> (q) e = Add (v, o) r = Sqrt (e) n = Div (d, r) y = Mul (n, s)",
              "float p = {3.0}, float o = {9.0}, float[4] s = {1.0, 2.0, 3.0, 4.0}") == 8);
  CHECK(steps("m = ReduceMean <axes = [0]> (x) d = Sub (x, m) q = Mul (d, d) v = ReduceMean <axes "
              "= [0]> (q) e = Add (v, o) r = Sqrt (e) n = Div (d, r) y = Mul (n, s)",
              "float o = {9.0}, float[4] s = {1.0, 2.0, 3.0, 4.0}") == 8);
  CHECK(steps("i = Div (x, k) f = Erf (i) p = Add (f, o) t = Mul (x, p) y = Mul (t, h)",
              "float k = {1.4}, float o = {1.0}, float h = {0.5}") == 5);
  CHECK(steps("i = Div (x, k) f = Erf (i) p = Add (f, o) t = Mul (x, p) y = Mul (t, h)",
              "float k = {1.4142135}, float o = {1.0}, float h = {0.4}") == 5);
}

TEST_CASE("gates of channels multiply images where they lie") {
  // The convolutions of modules keep channels last; the gate comes in another layout, or from
  // another shape.
  const std::string text = R"(<ir_version: 8, opset_import: ["" : 17]>
g (float[2,16,5,6] x, float[2,16,1,1] gate, float[16,1,1] bias, float[1,1,5,6] mask) => (float[2,16,5,6] y, float[2,16,5,6] z, float[2,16,5,6] u)
<float[16,1,3,3] w>
{ c = Conv <group = 16, pads = [1,1,1,1]> (x, w)  p = GlobalAveragePool (c)  t = Mul (c, gate)  s = Mul (t, p)  y = Add (bias, s)  z = Sub (mask, c)  u = Mul (c, x) })";
  std::string with_weights = text;
  std::string values = " = {";
  for (int i = 0; i < 144; ++i)
    values += (i ? "," : "") + std::to_string((i * 37 % 19) * 0.1 - 0.9);
  with_weights.replace(with_weights.find("3,3] w>") + 6, 0, values + "}");
  const std::vector<std::vector<int64_t>> dims = {
      {2, 16, 5, 6}, {2, 16, 1, 1}, {16, 1, 1}, {1, 1, 5, 6}};
  const Ran a = run(with_weights, dims, true, "", true),
            b = run(with_weights, dims, true, "", false);
  for (size_t k = 0; k < 3; ++k) {
    const auto x = a.outputs[k].values<float>(), y = b.outputs[k].values<float>();
    REQUIRE(x.size() == y.size());
    for (size_t i = 0; i < x.size(); ++i) CHECK(std::abs(x[i] - y[i]) <= 1e-4f);
  }
}

}  // namespace
}  // namespace onnxtool
