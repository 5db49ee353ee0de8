#include "libopt/rewrite/rewriter.h"

#include <doctest/doctest.h>

#include "libopt/analysis/seam.h"
#include "libopt/analysis/structure.h"
#include "libopt/io/encode.h"
#include "tests/libopt/invariants.h"

namespace onnxtool {
namespace {

std::unique_ptr<Model> parse(const std::string& text) {
  auto model = parse_text(text);
  REQUIRE_MESSAGE(model.ok(), (model.ok() ? "" : model.error().message));
  return *std::move(model);
}

void check_is(const Model& model, const std::string& text) {
  CHECK(structural_difference(*parse(text), model).value_or("") == "");
  testing::check_invariants(model.graph());
}

TEST_CASE("an output keeps name, type and documentation, whoever makes it") {
  const auto m = parse(
      R"(<ir_version: 8, opset_import: ["" : 13]> g (float[batch] x) => (float[batch] y) { a = Neg (x)  y = Abs (a) })");
  Graph& g = m->graph();
  g.find("y")->doc = "the answer";
  Value& a = *g.find("a");
  a.set_type(ValueType::tensor(DataType::kFloat));
  Rewriter rw(g, g.find("y")->producer());
  rw.replace_uses(*g.find("y"), a);
  rw.sweep();
  CHECK(a.name() == "y");
  CHECK(a.doc == "the answer");
  CHECK(format_type(a.type()) == "float[batch]");
  check_is(
      *m,
      R"(<ir_version: 8, opset_import: ["" : 13]> g (float[batch] x) => (float[batch] y) { y = Neg (x) })");
}

TEST_CASE("an output that no node could make gets an Identity") {
  const auto m = parse(
      R"(<ir_version: 8, opset_import: ["" : 13]> g (float[2] x) => (float[2] y, float[2] z) { a = Neg (x)  y = Abs (a)  z = Exp (y) })");
  Graph& g = m->graph();
  Rewriter rw(g, g.find("y")->producer());
  rw.replace_uses(*g.find("y"), *g.find("x"));
  rw.sweep();
  check_is(
      *m,
      R"(<ir_version: 8, opset_import: ["" : 13]> g (float[2] x) => (float[2] y, float[2] z) { z = Exp (x)  y = Identity (x) })");
}

TEST_CASE("an output listed twice stays so") {
  const auto m = parse(
      R"(<ir_version: 8, opset_import: ["" : 13]> g (float[2] x) => (float[2] y) { a = Neg (x)  y = Abs (a) })");
  Graph& g = m->graph();
  g.add_output(*g.find("y"));
  Rewriter rw(g, g.find("y")->producer());
  rw.replace_uses(*g.find("y"), *g.find("a"));
  rw.sweep();
  CHECK(g.outputs()[0] == g.outputs()[1]);
  CHECK(g.outputs()[0]->name() == "y");
  CHECK(g.num_nodes() == 1);
  testing::check_invariants(g);
}

TEST_CASE("a subgraph may list an outer value: the list follows too") {
  const auto m =
      parse(R"(<ir_version: 8, opset_import: ["" : 13]> g (bool p, float[2] x) => (float[2] y)
    { a = Neg (x)  b = Abs (a)
      y = If (p) <then_branch = t () => (float[2] u) { u = Exp (b) }, else_branch = e () => (float[2] w) { w = Identity (a) }> })");
  Graph& g = m->graph();
  Graph* then = nullptr;
  g.find("y")->producer()->for_each_subgraph([&](Graph& sub) { then = then ? then : &sub; });
  then->set_output(0, *g.find("b"));
  then->remove_node(*then->nodes().begin().node);
  Rewriter rw(g, g.find("b")->producer());
  rw.replace_uses(*g.find("b"), *g.find("a"));
  rw.sweep();
  CHECK(then->outputs()[0] == g.find("a"));
  CHECK(g.num_nodes() == 2);
  testing::check_invariants(g);
}

TEST_CASE("the sweep takes what only the removed node read, and no more") {
  const auto m = parse(
      R"(<ir_version: 8, opset_import: ["" : 13, "acme" : 1]> g (float[2] x, float[2] d = {7, 8}) => (float[2] y)
    <float[2] w = {1, 2}, float[2] v = {3, 4}>
    { a = Add (x, w)  b = Mul (a, v)  c = Add (b, d)  e = acme.Log (c)  f = Neg (e)  y = Abs (v) })");
  Graph& g = m->graph();
  Rewriter rw(g, g.find("f")->producer());
  rw.remove(*g.find("f")->producer());
  rw.sweep();
  CHECK(g.find("e"));  // a custom operator may do more than make its output
  Rewriter second(g, g.find("e")->producer());
  second.remove(*g.find("e")->producer());
  second.sweep();
  check_is(
      *m,
      R"(<ir_version: 8, opset_import: ["" : 13, "acme" : 1]> g (float[2] x, float[2] d = {7, 8}) => (float[2] y)
    <float[2] v = {3, 4}> { y = Abs (v) })");
  CHECK(g.find("w") == nullptr);
  CHECK(g.find("d"));  // a graph input stays, default and all
}

TEST_CASE("constants become initializers, or nodes where initializers had to be graph inputs") {
  for (const int ir : {3, 8}) {
    INFO("IR ", ir);
    const auto m = parse(
        "<ir_version: " + std::to_string(ir) +
        R"(, opset_import: ["" : 8]> g (float[2] x) => (float[2] y) { a = Neg (x)  y = Add (a, x) })");
    Graph& g = m->graph();
    Node& add = *g.find("y")->producer();
    Rewriter rw(g, &add);
    const Value& c = rw.add_constant(Tensor::vector(std::vector<float>{1, 2}), "c");
    // Its readers may stand before the anchor.
    rw.set_input(*g.find("a")->producer(), 0, &c);
    rw.set_input(add, 1, &c);
    CHECK(c.constant());
    CHECK((c.initializer() != nullptr) == (ir == 8));
    CHECK(g.num_nodes() == (ir == 8 ? 2 : 3));
    testing::check_invariants(g);
    CHECK(g.inputs().size() == 1);
  }
}

TEST_CASE("a value becomes constant under its name") {
  const auto m = parse(
      R"(<ir_version: 8, opset_import: ["" : 13]> g (float[2] x) => (float[1] b, float[2] y) { a, b = Split (x)  y = Concat <axis = 0> (a, b) })");
  Graph& g = m->graph();
  Node& split = *g.find("a")->producer();
  Rewriter rw(g, &split);
  rw.make_constant(*g.find("a"), Tensor::vector(std::vector<float>{5}));
  CHECK(g.find("a")->initializer());
  CHECK(split.num_outputs() == 2);
  CHECK_FALSE(split.has_output(0));
  testing::check_invariants(g);
  rw.make_constant(
      *g.find("b"),
      Tensor::vector(std::vector<float>{6}));  // an output: a Constant node; the Split goes
  check_is(
      *m,
      R"(<ir_version: 8, opset_import: ["" : 13]> g (float[2] x) => (float[1] b, float[2] y) <float[1] a = {5}>
    { b = Constant <value = float[1] {6}> ()  y = Concat <axis = 0> (a, b) })");
}

TEST_CASE("edits are counted, and what changes nothing is none") {
  const auto m = parse(
      R"(<ir_version: 8, opset_import: ["" : 13]> g (float[2] x) => (float[2] y) { y = Add (x, x) })");
  Graph& g = m->graph();
  const Node& add = *g.find("y")->producer();
  Rewriter rw(g, &add);
  rw.set_input(add, 0, g.find("x"));
  rw.resize_inputs(add, 2);
  rw.remove_attribute(add, "none");
  rw.replace_uses(*g.find("x"), *g.find("x"));
  CHECK(rw.edits() == 0);
  rw.set_op(add, "Mul");
  CHECK(rw.edits() == 1);
  CHECK(add.is("Mul"));
}

}  // namespace
}  // namespace onnxtool
