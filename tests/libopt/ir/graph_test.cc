#include "libopt/ir/graph.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "libopt/analysis/seam.h"
#include "libopt/io/encode.h"
#include "libopt/ir/model.h"
#include "tests/libopt/invariants.h"

namespace onnxtool {
namespace {

std::unique_ptr<Model> parse(const std::string& text) {
  auto model = parse_text(text);
  REQUIRE_MESSAGE(model.ok(), (model.ok() ? "" : model.error().message));
  return *std::move(model);
}

std::string order(const Graph& g) {
  std::string s;
  for (const Node& n : g.nodes()) s += n.op_type() + " ";
  return s;
}

constexpr const char* kChain =
    R"(<ir_version: 8, opset_import: ["" : 13]> g (float[2] x) => (float[2] y) <float[2] w = {1, 2}>
  { a = Neg (x)  b = Abs (a)  y = Add (b, w) })";

TEST_CASE("uses follow every edit") {
  const auto m = parse(kChain);
  Graph& g = m->graph();
  testing::check_invariants(g);
  Node& add = *g.find("y")->producer();
  Value &a = *g.find("a"), &w = *g.find("w");
  g.set_input(add, 0, &a);
  CHECK(a.uses().size() == 2);
  CHECK(g.find("b")->unused());
  testing::check_invariants(g);
  g.set_input(add, 1, &a);  // the same value twice
  CHECK(a.uses().size() == 3);
  CHECK(w.unused());
  g.replace_uses(a, w);
  CHECK(a.unused());
  CHECK(w.uses().size() == 3);
  testing::check_invariants(g);
  g.resize_inputs(add, 1);
  CHECK(w.uses().size() == 2);
  CHECK(add.num_inputs() == 1);
  g.set_input(add, 4, &w);
  CHECK(add.num_inputs() == 5);
  CHECK_FALSE(add.has_input(2));
  testing::check_invariants(g);
}

TEST_CASE("graph outputs are uses") {
  const auto m = parse(kChain);
  Graph& g = m->graph();
  Value &y = *g.find("y"), &a = *g.find("a");
  CHECK(y.has_one_use());
  CHECK_FALSE(y.unused());
  g.add_output(y);
  CHECK_FALSE(y.has_one_use());
  g.replace_uses(y, a, /*outputs_too=*/true);
  CHECK(y.unused());
  CHECK(g.outputs()[0] == &a);
  CHECK(g.outputs()[1] == &a);
  testing::check_invariants(g);
}

TEST_CASE("removing a node takes its outputs along and leaves others alone") {
  const auto m = parse(kChain);
  Graph& g = m->graph();
  Node& neg = *g.find("a")->producer();
  CHECK_THROWS_AS(g.remove_node(neg), InternalError);  // its output is read
  g.replace_uses(*g.find("a"), *g.find("x"));
  const int id = neg.id();
  g.remove_node(neg);
  CHECK(g.find("a") == nullptr);
  CHECK(g.node(id) == nullptr);
  CHECK(g.num_nodes() == 2);
  CHECK(order(g) == "Abs Add ");
  testing::check_invariants(g);
}

TEST_CASE("nodes can be removed while they are iterated") {
  const auto m = parse(R"(<ir_version: 8, opset_import: ["" : 13]> g (float[2] x) => (float[2] y)
    { a = Neg (x)  b = Neg (x)  c = Neg (x)  y = Abs (x) })");
  Graph& g = m->graph();
  for (Node& n : g.nodes())
    if (n.output(0).unused()) g.remove_node(n);
  CHECK(order(g) == "Abs ");
}

TEST_CASE("nodes go where the anchor says") {
  const auto m = parse(kChain);
  Graph& g = m->graph();
  Node& abs = *g.find("b")->producer();
  g.add_node("Relu", "", "", {g.find("x")}, {&g.add_value("", "r")}, {}, &abs);
  CHECK(order(g) == "Neg Relu Abs Add ");
  g.add_node("Exp", "", "", {g.find("x")}, {&g.add_value("", "r")});
  CHECK(order(g) == "Neg Relu Abs Add Exp ");
  g.move_before(*abs.next(), g.nodes().begin().node);
  CHECK(order(g) == "Add Neg Relu Abs Exp ");
  CHECK(g.num_nodes() == 5);
  g.add_node("Elu", "ai.onnx", "", {g.find("x")}, {&g.add_value("", "r")});
  CHECK(g.find("r_2")->producer()->is("Elu"));  // both names of the domain are one
}

TEST_CASE("fresh names are new here, outside and inside") {
  const auto m =
      parse(R"(<ir_version: 8, opset_import: ["" : 13]> g (bool p, float[2] x) => (float[2] y)
    { a = Neg (x)
      y = If (p) <then_branch = t () => (float[2] u) { v = Neg (a)  u = Abs (v) }, else_branch = e () => (float[2] w) { w = Abs (a) }> })");
  Graph& g = m->graph();
  Graph* then = nullptr;
  g.find("y")->producer()->for_each_subgraph([&](Graph& sub) { then = then ? then : &sub; });
  CHECK(g.fresh_name("new") == "new");
  CHECK(g.add_value("", "a").name() == "a_1");
  CHECK(g.fresh_name("v") == "v_1");      // a branch has it
  CHECK(then->fresh_name("a") == "a_2");  // the outer graph has a and a_1
  const std::string inner = then->fresh_name("shared");
  then->add_value(inner);
  CHECK(g.fresh_name("shared") != inner);
  CHECK(g.fresh_name("") != g.fresh_name(""));
}

TEST_CASE("what subgraphs read are uses of the outer value, until the subgraph goes") {
  const auto m =
      parse(R"(<ir_version: 8, opset_import: ["" : 13]> g (bool p, float[2] x) => (float[2] y)
    { a = Neg (x)
      y = If (p) <then_branch = t () => (float[2] u) { u = Abs (a) }, else_branch = e () => (float[2] w) { w = Exp (a) }> })");
  Graph& g = m->graph();
  Value& a = *g.find("a");
  CHECK(a.uses().size() == 2);
  CHECK(&a.uses()[0].user->graph() != &g);
  g.replace_uses(*g.find("y"), a, /*outputs_too=*/true);
  g.remove_node(*a.producer()->next());
  CHECK(a.uses().empty());
  CHECK(a.has_one_use());  // the graph output
  testing::check_invariants(g);
}

TEST_CASE("constants are what nothing can change") {
  const auto m = parse(
      R"(<ir_version: 8, opset_import: ["" : 13]> g (float[2] x, float[1] d = {3}) => (float[2] y) <float[2] w = {1, 2}>
    { c = Constant <value = float[1] {4}> ()  e = Constant <value_float = 5.0> ()  y = Sum (x, d, w, c, e) })");
  const Graph& g = m->graph();
  CHECK_FALSE(g.find("x")->constant());
  CHECK_FALSE(g.find("d")->constant());
  CHECK(g.find("w")->constant()->values<float>() == std::vector<float>{1, 2});
  CHECK(g.find("c")->constant()->values<float>() == std::vector<float>{4});
}

// Random edits, with what must hold checked after each.
TEST_CASE("any sequence of edits keeps uses, order and names consistent") {
  std::mt19937 random(99);
  Model model;
  Graph& g = model.graph();
  Value& x = g.add_value("x");
  g.add_input(x);
  std::vector<Node*> nodes;
  const auto pick_before = [&](const Node* user) {  // a value that may be read at `user`
    std::vector<Value*> seen = {&x};
    for (Node& n : g.nodes()) {
      if (&n == user) break;
      seen.push_back(&n.output(0));
    }
    return seen[random() % seen.size()];
  };
  for (int step = 0; step < 600; ++step) {
    const unsigned what = random() % 4;
    if (nodes.empty() || what == 0) {
      Node* anchor = nodes.empty() || random() % 2 ? nullptr : nodes[random() % nodes.size()];
      nodes.push_back(&g.add_node("Add", "", "", {pick_before(anchor), pick_before(anchor)},
                                  {&g.add_value("", "v")}, {}, anchor));
    } else if (what == 1) {
      Node* n = nodes[random() % nodes.size()];
      g.set_input(*n, static_cast<int>(random() % 2), pick_before(n));
    } else if (what == 2) {
      Node* n = nodes[random() % nodes.size()];
      g.replace_uses(n->output(0), *pick_before(n));
    } else {
      const size_t i = random() % nodes.size();
      if (!nodes[i]->output(0).unused()) continue;
      g.remove_node(*nodes[i]);
      nodes.erase(nodes.begin() + static_cast<long>(i));
    }
    CHECK(g.num_nodes() == nodes.size());
    testing::check_invariants(g);
  }
}

}  // namespace
}  // namespace onnxtool
