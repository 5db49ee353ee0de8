// Nodes that call functions run through the functions' bodies.
#include <doctest/doctest.h>

#include <cmath>

#include "calib/exec/plan.h"
#include "calib/kernels/cpu/cpu_kernels.h"
#include "libopt/analysis/effects.h"
#include "libopt/analysis/seam.h"

namespace onnxtool {
namespace {

const std::string kHeader = R"(<ir_version: 10, opset_import: ["" : 21, "f" : 1]> )";
const std::string kOf = R"(<domain: "f", opset_import: ["" : 21, "f" : 1]> )";

Result<std::vector<float>> run_text(const std::string& text, const std::vector<Tensor>& inputs) {
  ONNXTOOL_ASSIGN(const auto model, parse_text(text));
  (void)infer_graph(model->graph());
  PlanOptions options;
  options.kernel_sets = {&cpu_kernel_set()};
  ONNXTOOL_ASSIGN(const auto plan, Plan::compile(model->graph(), options));
  RunContext context(plan);
  std::vector<Tensor> outputs;
  ONNXTOOL_TRY(context.run(inputs, &outputs));
  return outputs[0].values<float>();
}

Tensor vec(std::vector<float> v) {
  return Tensor::from<float>({static_cast<int64_t>(v.size())}, v);
}

std::vector<float> expect(const std::string& text, std::vector<Tensor> inputs) {
  const auto r = run_text(text, inputs);
  REQUIRE_MESSAGE(r.ok(), (r.ok() ? "" : r.error().message));
  return *r;
}

std::string error_of(const std::string& text) {
  const auto r = run_text(text, {vec({1})});
  CHECK(!r.ok());
  return r.ok() ? "" : r.error().message;
}

}  // namespace

TEST_CASE("functions: nested calls with attributes given, by default and left out") {
  const std::string functions =
      kOf + "Leaky <a> (x) => (y) { y = LeakyRelu <alpha : float = @a> (x) } " +
      R"(<domain: "f", opset_import: ["" : 21, "f" : 1]> Twice <s : float = 2.0> (x) => (y, x2) {
                                     t = f.Leaky <a : float = @s> (x)   y = Add (t, t)   x2 = Identity (x) } )";
  const std::string graph =
      "g (float[n] x) => (float[n] z) { y, u = f.Twice ATTRIBUTES (x)   z = Add (y, u) } ";
  const auto with = [&](const std::string& attributes) {
    std::string text = kHeader + graph + functions;
    return text.replace(text.find("ATTRIBUTES"), 10, attributes);
  };
  CHECK(expect(with("<s = 0.5>"), {vec({-4, 1})}) == std::vector<float>{-8, 3});
  CHECK(expect(with(""), {vec({-4, 1})}) == std::vector<float>{-20, 3});
  // Leaky's own attribute has no default: without it LeakyRelu's 0.01 holds.
  const auto out = expect(
      kHeader + "g (float[n] x) => (float[n] z) { z = f.Leaky (x) } " + functions, {vec({-100})});
  CHECK(out[0] == doctest::Approx(-1));
}

TEST_CASE("functions: bodies that give an input on, or one result twice; inputs left out") {
  CHECK(expect(kHeader +
                   "g (float[n] x) => (float[n] z) { a, b, c = f.Same (x)   t = Add (a, b)   z = "
                   "Add (t, c) } " +
                   kOf + "Same (x) => (x, y, y) { y = Neg (x) }",
               {vec({5})}) == std::vector<float>{-5});
  CHECK(expect(kHeader + "g (float[n] x) => (float[n] z) { z = f.Bound (x) } " + kOf +
                   "Bound (x, low, high) => (y) { y = Clip (x, low, high) }",
               {vec({5})}) == std::vector<float>{5});
}

TEST_CASE("functions: inside subgraphs, and with subgraphs that read the body's values") {
  const std::string text = kHeader +
                           R"(g (float[n] x, bool c) => (float[n] z) {
      z = If (c) <then_branch = t () => (float[n] p) { p = f.Choose (x, c) }, else_branch = e () => (float[n] q) { q = Identity (x) }> } )" +
                           kOf + R"(Choose (v, flag) => (r) {
      w = Neg (v)
      r = If (flag) <then_branch = t2 () => (float[n] p2) { p2 = Mul (w, v) }, else_branch = e2 () => (float[n] q2) { q2 = Identity (v) }> })";
  const Tensor yes = Tensor::from_bytes(DataType::kBool, {}, {std::byte{1}}),
               no = Tensor::from_bytes(DataType::kBool, {}, {std::byte{0}});
  CHECK(expect(text, {vec({3}), yes}) == std::vector<float>{-9});
  CHECK(expect(text, {vec({3}), no}) == std::vector<float>{3});
}

TEST_CASE("functions: recursion, surplus results and other opsets are errors") {
  const std::string call = kHeader + "g (float[n] x) => (float[n] z) { z = f.A (x) } ";
  CHECK(
      error_of(call + kOf + "A (x) => (y) { y = f.B (x) } " + kOf + "B (x) => (y) { y = f.A (x) }")
          .find("calls itself") != std::string::npos);
  CHECK(error_of(kHeader + "g (float[n] x) => (float[n] z) { z, w = f.A (x) } " + kOf +
                 "A (x) => (y) { y = Neg (x) }")
            .find("more inputs or outputs") != std::string::npos);
  // Softmax-11 works on a flattened input.
  CHECK(
      error_of(call + R"(<domain: "f", opset_import: ["" : 11]> A (x) => (y) { y = Softmax (x) })")
          .find("Softmax of opset 11") != std::string::npos);
}

TEST_CASE(
    "functions: a chain in which each calls the next twice costs inference and analysis nothing, "
    "and running says so") {
  std::string text = kHeader + "g (float[n] x) => (float[n] z) { z = f.F0 (x) } ";
  for (int i = 0; i < 40; ++i) {
    const std::string next = i == 39 ? "Neg" : "f.F" + std::to_string(i + 1);
    text += kOf + "F" + std::to_string(i) + " (x) => (y) { a = " + next + " (x)   y = " + next +
            " (a) } ";
  }
  const auto model = parse_text(text);
  REQUIRE(model.ok());
  CHECK(infer_graph((*model)->graph()).ok());
  for (const Node& n : (*model)->graph().nodes()) {
    CHECK(is_deterministic(n));
    CHECK(!may_have_effects(n));
    REQUIRE(n.output(0).type().shape);
    CHECK((*n.output(0).type().shape)[0].symbol == "n");
  }
  CHECK(error_of(text).find("expand to more than") != std::string::npos);
}

TEST_CASE("functions: the standard's own, where no kernel is") {
  // The function of Celu-12, asked of a kernel set that has none.
  std::vector<const KernelInfo*> kernels;
  for (const KernelInfo* k : cpu_kernel_set().kernels)
    if (k->op != "Celu" && k->op != "HardSwish") kernels.push_back(k);
  const KernelSet set{.name = "few", .kernels = kernels};
  const auto model = parse_text(
      R"(<ir_version: 10, opset_import: ["" : 21]> g (float[3] x) => (float[3] z) { y = Celu (x)   z = HardSwish (y) })");
  REQUIRE(model.ok());
  REQUIRE(infer_graph((*model)->graph()).ok());
  PlanOptions options;
  options.kernel_sets = {&set};
  const auto plan = Plan::compile((*model)->graph(), options);
  REQUIRE_MESSAGE(plan.ok(), (plan.ok() ? "" : plan.error().message));
  RunContext context(*plan);
  std::vector<Tensor> outputs;
  REQUIRE(context.run(std::vector<Tensor>{vec({-1, 0, 2})}, &outputs).ok());
  const double celu = std::expm1(-1.0);
  const auto z = outputs[0].values<float>();
  CHECK(z[0] == doctest::Approx(celu * (celu / 6 + 0.5)));
  CHECK(z[1] == 0);
  CHECK(z[2] == doctest::Approx(2 * (2 / 6.0 + 0.5)));
}

}  // namespace onnxtool
