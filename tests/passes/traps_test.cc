// What other optimizers get wrong, or models that few think of: every pass of each level, on inputs
// chosen so that the mistake shows. "Kept" names the operators that have to be there afterwards.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>

#include "calib/exec/folder.h"
#include "calib/exec/plan.h"
#include "calib/kernels/cpu/cpu_kernels.h"
#include "libopt/analysis/seam.h"
#include "libopt/io/decode.h"
#include "libopt/io/encode.h"
#include "libopt/io/load.h"
#include "libopt/rewrite/driver.h"
#include "passes/pass.h"

namespace onnxtool {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

struct Trap {
  std::string name, text;
  std::vector<Tensor> inputs;
  std::vector<std::string_view> kept = {};
};

Tensor row(std::vector<int64_t> dims, const std::vector<float>& v) {
  return Tensor::from(std::move(dims), v);
}
std::string graph(const std::string& text) {
  return "<ir_version: 10, opset_import: [\"\" : 21]> g " + text;
}

std::vector<Trap> traps() {
  const std::vector<float> below = {-1, -2, -3, -4};
  return {
      {"a zero Pad is no padding of MaxPool",
       graph("(float[1,1,2,2] x) => (float[1,1,3,3] y) <int64[8] p = {0,0,1,1,0,0,1,1}> "
             "{ t = Pad (x, p)  y = MaxPool <kernel_shape = [2, 2]> (t) }"),
       {row({1, 1, 2, 2}, below)},
       {"Pad", "MaxPool"}},
      {"a zero Pad counts in an average that leaves its own padding out",
       graph("(float[1,1,2,2] x) => (float[1,1,3,3] y) <int64[8] p = {0,0,1,1,0,0,1,1}> "
             "{ t = Pad (x, p)  y = AveragePool <kernel_shape = [2, 2], pads = [0,0,0,0]> (t) }"),
       {row({1, 1, 2, 2}, below)}},
      {"a Transpose that changes nothing is no transposition",
       graph("(float[2,2] x) => (float[2,2] y) <float[2,2] w = {1, 2, 3, 4}> "
             "{ t = Transpose <perm = [0, 1]> (x)  y = Gemm (t, w) }"),
       {row({2, 2}, below)}},
      {"a quotient of integers is cut off before it is multiplied",
       graph("(int32[1] x, int32[1] z) => (int32[1] y) <int32[1] one = {1}> "
             "{ t = Div (one, x)  y = Mul (t, z) }"),
       {Tensor::from<int32_t>({1}, std::vector<int32_t>{3}),
        Tensor::from<int32_t>({1}, std::vector<int32_t>{6})},
       {"Div", "Mul"}},
      {"one over nothing is infinite",
       graph("(float[3] x, float[3] z) => (float[3] y) <float[1] one = {1}> "
             "{ t = Div (one, x)  y = Mul (t, z) }"),
       {row({3}, {0, 1e-40f, kInf}), row({3}, {0, 0, kInf})}},
      {"a normalization behind a Transpose is of other columns",
       graph("(float[2,2] x) => (float[2,2] y) <float[2,2] w = {1,2,3,4}, float[2] s = {2,4}, "
             "float[2] b = {1,0}, float[2] m = {0,8}, float[2] v = {1,0.25}> { t = MatMul (x, w)  "
             "u = Transpose (t)  y = BatchNormalization (u, s, b, m, v) }"),
       {row({2, 2}, below)}},
      {"a normalization behind a Reshape is of other columns",
       graph("(float[2,2,2] x) => (float[4,2,1] y) <float[2,2] w = {1,2,3,4}, float[2] s = {2,4}, "
             "float[2] b = {1,0}, float[2] m = {0,8}, float[2] v = {1,0.25}, int64[3] r = {4,2,1}> "
             "{ t = MatMul (x, w)  u = Reshape (t, r)  y = BatchNormalization (u, s, b, m, v) }"),
       {row({2, 2, 2}, {1, 2, 3, 4, 5, 6, 7, 8})}},
      {"a normalization of the middle axis of a product",
       graph("(float[1,2,2] x) => (float[1,2,2] y) <float[2,2] w = {1,2,3,4}, float[2] s = {2,4}, "
             "float[2] b = {1,0}, float[2] m = {0,8}, float[2] v = {1,0.25}> "
             "{ t = MatMul (x, w)  y = BatchNormalization (t, s, b, m, v) }"),
       {row({1, 2, 2}, below)}},
      {"a Cast to an integer cuts off",
       graph("(float[2] x) => (float[2] y) "
             "{ t = Cast <to = 7> (x)  y = Cast <to = 1> (t) }"),
       {row({2}, {1.75f, -1.75f})},
       {"Cast", "Cast"}},
      {"an integer loses digits as a float",
       graph("(int64[1] x) => (int64[1] y) "
             "{ t = Cast <to = 1> (x)  y = Cast <to = 7> (t) }"),
       {Tensor::from<int64_t>({1}, std::vector<int64_t>{(1 << 24) + 1})},
       {"Cast", "Cast"}},
      {"a 0 of the second Reshape is an extent of the first",
       graph("(float[4,3] x) => (float[2,6] y) <int64[2] r = {2,6}, int64[2] z = {0,-1}> "
             "{ t = Reshape (x, r)  y = Reshape (t, z) }"),
       {row({4, 3}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11})}},
      {"as many numbers as channels, but along the width",
       graph("(float[1,1,2,2] x) => (float[1,2,2,2] y) <float[2,1,1,1] w = {2, -1}, float[2] c = "
             "{4, 0.5}> { t = Conv (x, w)  y = Add (t, c) }"),
       {row({1, 1, 2, 2}, below)},
       {"Conv", "Add"}},
      {"a neutral element only in another type",
       graph("(double[1] x, int64[1] z) => (double[1] y, int64[1] w) <double[1] d = "
             "{1.0000000001}, int64[1] big = {-9223372036854775808}> "
             "{ y = Mul (x, d)  w = Sub (z, big) }"),
       {Tensor::from<double>({1}, std::vector<double>{3}),
        Tensor::from<int64_t>({1}, std::vector<int64_t>{-1})},
       {"Mul", "Sub"}},
      {"extents of other names are not equal",
       graph("(float[n,2] x, float[m,2] z) => (float[a,2] y) "
             "{ s = Shape <end = 1> (x)  t = Shape <end = 1> (z)  e = Equal (s, t)  "
             "c = Cast <to = 1> (e)  y = Add (x, c) }"),
       {row({2, 2}, below), row({1, 2}, {1, 2})},
       {"Equal"}},
      {"the same place of the largest, before and behind a function that grows",
       graph("(float[1,4] x) => (int64[1,1] y, int64[1,1] z, int64[1,1] w) "
             "{ r = Relu (x)  y = ArgMax <axis = 1> (r)  s = Sigmoid (x)  z = ArgMax <axis = 1> (s)"
             "  c = Ceil (x)  w = ArgMax <axis = 1> (c) }"),
       {row({1, 4}, {-4, -3, -2, -1})},
       {"Relu", "Sigmoid", "Ceil"}},
      {"rows of several matrices and a 0 that means another extent",
       graph("(float[2,3,2] x) => (float[3,2,2] y) <float[2,2] w = {1,2,3,4}, int64[2] r = {-1,2}, "
             "int64[3] z = {-1,0,2}> { t = Reshape (x, r)  u = MatMul (t, w)  q = Reshape (u, z)  "
             "y = Relu (q) }"),
       {row({2, 3, 2}, {1, -2, 3, -4, 5, -6, 7, -8, 9, -10, 11, -12})}},
      {"a default that the caller overrides",
       "<ir_version: 8, opset_import: [\"\" : 17]> g (float[1,1,1,1] x, float[1,1,1,1] w, float c) "
       "=> (float[1,1,1,1] y) <float[1,1,1,1] w = {1}, float c = {1}> "
       "{ t = Conv (x, w)  u = Mul (t, c)  y = Add (u, c) }",
       {row({1, 1, 1, 1}, {3}), row({1, 1, 1, 1}, {5}), row({}, {7})},
       {"Conv", "Mul", "Add"}},
      {"what a branch reads outside is not computed twice nor lost",
       graph("(float[2] x, bool b) => (float[2] y) { d = Identity (x)  t = Neg (d)  y = If (b) "
             "<then_branch = p () => (float[2] u) { u = Neg (d) }, "
             "else_branch = q () => (float[2] v) { w = Neg (d)  v = Add (w, t) }> }"),
       {row({2}, {1, 2}), Tensor::from_bytes(DataType::kBool, {}, {std::byte{0}})}},
      {"outputs that are inputs, constants and one value twice",
       graph(
           "(float[2] x) => (float[2] x, float[2] k, float[2] y, float[2] y) <float[2] k = {1, 2}>"
           " { t = Identity (x)  y = Mul (t, k) }"),
       {row({2}, {3, 4})}},
      {"training in the middle",
       graph("(float[2,2] x) => (float[2,2] y, float[2] a, float[2] b) <float[2] s = {1,2}, "
             "float[2] h = {0,1}, float[2] m = {1,1}, float[2] v = {1,2}> "
             "{ y, a, b = BatchNormalization <training_mode = 1> (x, s, h, m, v) }"),
       {row({2, 2}, {1, 2, 3, 5})},
       {"BatchNormalization"}},
      {"a function, called twice",
       "<ir_version: 10, opset_import: [\"\" : 21, \"my\" : 1]> g (float[2,2] x) => (float[2] y) "
       "{ t = my.total (x)  u = my.total (x)  y = Add (t, u) } "
       "<domain: \"my\", opset_import: [\"\" : 21]> total (a) => (b) "
       "{ i = Identity (a)  k = Constant <value_ints = [1]> ()  "
       "b = ReduceSum <keepdims = 0> (i, k) }",
       {row({2, 2}, {1, 2, 3, 4})}},
      {"nodes of one name",
       graph("(float[2] x) => (float[2] y, float[2] z) { [n] t = Identity (x)  [n] u = Relu (t)  "
             "[n] v = Relu (u)  [n] y = Neg (v)  [n] z = Neg (u) }"),
       {row({2}, {-1, 2})}},
      {"both names of the standard's domain",
       "<ir_version: 10, opset_import: [\"\" : 21, \"ai.onnx\" : 21]> g (float[2] x) => "
       "(float[2] y) { t = ai.onnx.Identity (x)  u = Relu (t)  y = ai.onnx.Sigmoid (u) }",
       {row({2}, {-1, 2})},
       {"Relu", "Sigmoid"}},
      {"a branch within a branch reads the outermost graph",
       graph("(float[2] x, bool b) => (float[2] y) <float[2] k = {1, 2}> { d = Identity (x)  "
             "y = If (b) <then_branch = p () => (float[2] r) { s = Neg (d)  r = If (b) "
             "<then_branch = pp () => (float[2] u) { u = Add (s, k) }, "
             "else_branch = qq () => (float[2] v) { v = Identity (d) }> }, "
             "else_branch = q () => (float[2] w) { w = Sub (d, k) }> }"),
       {row({2}, {3, 4}), Tensor::from_bytes(DataType::kBool, {}, {std::byte{1}})}},
      {"IR 3, where every initializer is an input",
       "<ir_version: 3, opset_import: [\"\" : 9]> g (float[1,1,1,1] x, float[1,1,1,1] w, float[1] b"
       ") => (float[1,1,1,1] y) <float[1,1,1,1] w = {2}, float[1] b = {1}> "
       "{ t = Conv (x, w)  u = Identity (t)  y = Add (u, b) }",
       {row({1, 1, 1, 1}, {3}), row({1, 1, 1, 1}, {2}), row({1}, {1})}},
  };
}

std::vector<Tensor> results(const Model& model, const std::vector<Tensor>& inputs) {
  const auto copy = model.clone();
  // Defaults are overridden.
  for (Value* v : copy->graph().inputs())
    if (v->initializer()) copy->graph().clear_initializer(*v);
  REQUIRE(infer_graph(copy->graph()).ok());
  PlanOptions options;
  options.kernel_sets = {&cpu_kernel_set()};
  const auto plan = Plan::compile(copy->graph(), options);
  REQUIRE_MESSAGE(plan.ok(), plan.error().message);
  std::vector<Tensor> outputs;
  const Status done = RunContext(*plan).run(inputs, &outputs);
  REQUIRE_MESSAGE(done.ok(), done.error().message);
  return outputs;
}

bool close(const Tensor& a, const Tensor& b) {
  if (!is_float(a.dtype())) return a.same_content(b);
  if (a.dtype() != b.dtype() || a.dims() != b.dims()) return false;
  const std::vector<double> x = a.to_doubles(), y = b.to_doubles();
  for (size_t i = 0; i < x.size(); ++i) {
    const bool same = x[i] == y[i] || (std::isnan(x[i]) && std::isnan(y[i]));
    if (!same && !(std::abs(x[i] - y[i]) <= 1e-6 * std::abs(x[i]))) return false;
  }
  return true;
}

std::unique_ptr<Model> optimized(const Model& model, Level level) {
  auto copy = model.clone();
  REQUIRE(infer_graph(copy->graph()).ok());
  const auto folder = make_folder();
  PassContext context;
  context.folder = folder.get();
  context.ort_cpu = level != Level::kBasic;
  context.max_growth_bytes = 1 << 20;
  run_passes(*copy, optimization_pipeline(level), context);
  struct Text final : Storage {
    std::string bytes;
  };
  auto text = std::make_shared<Text>();
  text->bytes = encode_model(*copy).flatten();
  auto read = decode_model({std::as_bytes(std::span(text->bytes)), text, nullptr});
  REQUIRE_MESSAGE(read.ok(), read.error().message);
  return *std::move(read);
}

// How often the operator stands in the graph.
int64_t count(const Model& model, std::string_view op) {
  int64_t found = 0;
  for (const Node& n : model.graph().nodes()) found += n.is(op);
  return found;
}

void check_same(const Model& model, const std::vector<Tensor>& inputs,
                const std::vector<std::string_view>& kept) {
  const std::vector<Tensor> expected = results(model, inputs);
  for (const Level level : {Level::kBasic, Level::kAll}) {
    INFO("level ", static_cast<int>(level));
    const auto after = optimized(model, level);
    const std::vector<Tensor> actual = results(*after, inputs);
    REQUIRE(actual.size() == expected.size());
    for (size_t i = 0; i < expected.size(); ++i)
      CHECK_MESSAGE(close(expected[i], actual[i]), "output ", i, "\n", print_text(*after));
    for (const std::string_view op : kept)
      CHECK_MESSAGE(count(*after, op) >= std::ranges::count(kept, op), op, "\n",
                    print_text(*after));
  }
}

TEST_CASE("traps that other optimizers fall into") {
  for (const Trap& trap : traps()) {
    INFO(trap.name);
    const auto model = parse_text(trap.text);
    CHECK_MESSAGE(model.ok(), model.error().message);
    if (model.ok()) check_same(**model, trap.inputs, trap.kept);
  }
}

TEST_CASE("sparse initializers stay what they are") {
  const auto model = load_model(
      (std::filesystem::path(ONNXTOOL_SOURCE_DIR) / "testdata/exec/sparse_initializers.onnx")
          .string());
  REQUIRE(model.ok());
  check_same(**model, {row({1, 3}, {1, 10, 100})}, {});
}

TEST_CASE("random numbers are drawn as often as the model says") {
  const std::vector<std::string> draws = {
      "RandomNormal <shape = [2]> ()",
      "RandomUniform <shape = [2]> ()",
      "RandomNormalLike (x)",
      "RandomUniformLike (x)",
      "Bernoulli (x)",
      "Multinomial (m)",
      "Dropout (x, half, training)",
  };
  for (const std::string& draw : draws) {
    INFO(draw);
    const auto model = parse_text(
        graph("(float[2] x, float[1,3] m) => (y) <float half = {0.5}, bool training = {1}> { a = " +
              draw + "  b = " + draw + "  y = Sub (a, b) }"));
    REQUIRE_MESSAGE(model.ok(), model.error().message);
    for (const Level level : {Level::kBasic, Level::kAll})
      CHECK(count(*optimized(**model, level), draw.substr(0, draw.find(' '))) == 2);
  }
}

TEST_CASE("operators that nobody knows stay, with what they read") {
  const auto model = parse_text(
      "<ir_version: 10, opset_import: [\"\" : 21, \"other\" : 3]> g (float[2] x) => (float[2] y, "
      "float[2] z) <float[2] k = {1, 1}> { i = Identity (x)  a = other.Draw (i, k)  "
      "b = other.Draw (i, k)  y = Add (a, b)  z = other.Relu (x) }");
  REQUIRE_MESSAGE(model.ok(), model.error().message);
  for (const Level level : {Level::kBasic, Level::kAll}) {
    const auto after = optimized(**model, level);
    int64_t found = 0;
    for (const Node& n : after->graph().nodes()) found += n.domain() == "other";
    CHECK(found == 3);
    CHECK(after->opset("other") == 3);
  }
}

TEST_CASE("a function of another opset stays what it is") {
  const auto model = parse_text(
      "<ir_version: 10, opset_import: [\"\" : 21, \"my\" : 1]> g (float[2,2] x) => (float[2] y) "
      "{ t = my.total (x)  y = Neg (t) } <domain: \"my\", opset_import: [\"\" : 12]> "
      "total (a) => (b) { b = ReduceSum <axes = [1], keepdims = 0> (a) }");
  REQUIRE_MESSAGE(model.ok(), model.error().message);
  for (const Level level : {Level::kBasic, Level::kAll}) {
    const auto after = optimized(**model, level);
    REQUIRE(after->functions.size() == 1);
    CHECK(after->functions[0].body->nodes().begin().node->attribute("axes"));
    CHECK(count(*after, "ReduceSum") == 0);
  }
}

}  // namespace
}  // namespace onnxtool
