// A wrong rewrite comes out alone: few nodes, with the inputs that show it.
#include "calib/compare/reproduce.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "calib/compare/verifier.h"
#include "libopt/analysis/seam.h"
#include "libopt/rewrite/driver.h"
#include "tests/libopt/invariants.h"

namespace onnxtool {
namespace {

std::unique_ptr<Model> model_of(const std::string& text) {
  auto model = parse_text("<ir_version: 10, opset_import: [\"\" : 21, \"acme\" : 1]> " + text);
  REQUIRE_MESSAGE(model.ok(), (model.ok() ? "" : model.error().message));
  REQUIRE(infer_graph((*model)->graph()).ok());
  return *std::move(model);
}

bool is_marked(const Node& node) { return node.name() == "guilty"; }

// Forgets the addition before a product.
bool forget_add(const Node& node, Rewriter& rw, const PassContext&) {
  const Node* add = is_marked(node) ? node.input(0).producer() : nullptr;
  if (!add || !add->is("Add")) return false;
  rw.set_input(node, 0, &add->input(0));
  return true;
}
// Changes a constant that others read too.
bool change_constant(const Node& node, Rewriter& rw, const PassContext&) {
  const Tensor* t = is_marked(node) ? node.input(1).constant() : nullptr;
  if (!t || t->values<float>()[0] == 9) return false;
  rw.set_constant(node.input(1), Tensor::vector(std::vector<float>{9, 9}));
  return true;
}
// Leaves a node that fails.
bool break_shape(const Node& node, Rewriter& rw, const PassContext&) {
  if (!is_marked(node) || !node.input(1).producer()) return false;
  rw.set_input(node, 1, &rw.add_constant(Tensor::vector(std::vector<int64_t>{11, 13})));
  return true;
}

constexpr PassInfo kForget{.name = "forget", .summary = "", .roots = {"Mul"}, .run = forget_add};
constexpr PassInfo kChange{
    .name = "change", .summary = "", .roots = {"Mul"}, .run = change_constant};
constexpr PassInfo kBreak{.name = "break", .summary = "", .roots = {"Reshape"}, .run = break_shape};

struct Broken {
  VerifiedRun run;
  Reproduction alone;
};

Broken broken_by(const PassInfo& pass, const std::string& text) {
  auto model = model_of(text);
  const PassInfo* passes[] = {&pass};
  const auto verifier = make_verifier(*model, quick_verification(1));
  Broken b;
  b.run = run_verified(model, passes, PassContext(), verifier.get());
  REQUIRE(b.run.breach.has_value());
  CHECK(b.run.breach->pass == pass.name);
  REQUIRE(b.run.before_breach);
  auto alone = reproduce(*b.run.before_breach, *b.run.after_breach, b.run.breach_inputs, 1);
  REQUIRE_MESSAGE(alone.ok(), (alone.ok() ? "" : alone.error().message));
  b.alone = *std::move(alone);
  for (const Model* m : {b.alone.original.get(), b.alone.rewritten.get()})
    testing::check_invariants(m->graph());
  return b;
}

std::vector<std::string> names(const std::vector<NamedTensor>& tensors) {
  std::vector<std::string> out;
  for (const NamedTensor& t : tensors) out.push_back(t.name);
  return out;
}

using Names = std::vector<std::string>;

TEST_CASE("reproduce: the nodes that were rewritten, and nothing around them") {
  const Broken b = broken_by(
      kForget,
      "g (float[N,2] x) => (float[N,2] y, float[N,2] z) <float[2] w = {1, 2}, float[2] v = {3, 4}> "
      "{ a = Abs (x)  b = Add (a, w)  [guilty] c = Mul (b, v)  d = Neg (c)  y = Exp (d)  z = Sin "
      "(a) }");
  CHECK(names(b.alone.inputs) == Names{"a"});
  CHECK(names(b.alone.expected) == Names{"c"});
  CHECK(names(b.alone.found) == Names{"c"});
  CHECK(b.alone.original->graph().num_nodes() == 2);
  CHECK(b.alone.rewritten->graph().num_nodes() == 1);
  const auto a = b.alone.inputs[0].tensor.to_doubles(),
             expected = b.alone.expected[0].tensor.to_doubles(),
             found = b.alone.found[0].tensor.to_doubles();
  REQUIRE(a.size() == expected.size());
  for (size_t i = 0; i < a.size(); ++i) {
    if (!std::isfinite(expected[i])) continue;
    const double w = double(i % 2 + 1), v = double(i % 2 + 3);
    CHECK(expected[i] == doctest::Approx((a[i] + w) * v));
    CHECK(found[i] == doctest::Approx(a[i] * v));
  }
}

TEST_CASE("reproduce: an input follows from another only within the part") {
  // What the two sides read, `a` and `b`, would not fit each other if both were fed freely.
  const Broken b = broken_by(
      kForget,
      "g (float[N,2] x) => (float[N,2] y, float[N,2] z) <float[2] w = {1, 2}, float[2] v = {3, 4}> "
      "{ a = Abs (x)  b = Add (a, w)  [guilty] y = Mul (b, v)  z = Neg (b) }");
  CHECK(names(b.alone.inputs) == Names{"a"});
  CHECK(b.alone.original->graph().num_nodes() == 2);
}

TEST_CASE("reproduce: a constant of the same name that holds something else") {
  const Broken b = broken_by(kChange,
                             "g (float[N,2] x) => (float[N,2] y) <float[2] w = {1, 2}> "
                             "{ a = Abs (x)  [guilty] b = Mul (a, w)  c = Neg (b)  y = Exp (c) }");
  CHECK(b.alone.original->graph().num_nodes() == 1);
  CHECK(names(b.alone.expected) == Names{"b"});
  CHECK(b.alone.original->graph().initializers().size() == 1);
}

TEST_CASE("reproduce: a model that fails") {
  const Broken b = broken_by(
      kBreak,
      "g (float[N,M] x) => (float[A,B] y) "
      "{ a = Abs (x)  s = Shape (x)  t = Neg (a)  [guilty] u = Reshape (t, s)  y = Exp (u) }");
  CHECK(b.alone.found.empty());
  CHECK_FALSE(b.alone.failure.empty());
  CHECK(names(b.alone.expected) == Names{"u"});
}

TEST_CASE("reproduce: a rewrite in a subgraph takes the node that holds it along") {
  const Broken b = broken_by(kForget,
                             "g (bool p, float[2] x) => (float[2] y) <float[2] w = {1, 2}> "
                             "{ a = Abs (x)  b = Neg (x)"
                             "  c = If (p) < then_branch = t () => (float[2] u) { s = Add (a, w)  "
                             "[guilty] u = Mul (s, b) },"
                             "               else_branch = e () => (float[2] v) { s = Add (a, w)  "
                             "[guilty] v = Mul (s, b) }>"
                             "  y = Exp (c) }");
  CHECK(names(b.alone.inputs) == Names{"a", "b", "p"});
  CHECK(names(b.alone.expected) == Names{"c"});
  CHECK(b.alone.original->graph().num_nodes() == 1);
}

TEST_CASE("reproduce: custom operators stay out") {
  const Broken b = broken_by(
      kForget,
      "g (float[2] x) => (float[2] y) <float[2] w = {1, 2}, float[2] v = {3, 4}, float[2] a> "
      "{ a = acme.Twist (x)  b = Add (a, w)  [guilty] c = Mul (b, v)  y = Exp (c) }");
  CHECK(b.alone.original->graph().num_nodes() == 2);
  CHECK(names(b.alone.inputs) == Names{"cut.0.out.0"});
}

}  // namespace
}  // namespace onnxtool
