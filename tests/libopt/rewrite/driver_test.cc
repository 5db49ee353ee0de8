#include "libopt/rewrite/driver.h"

#include <doctest/doctest.h>

#include "libopt/analysis/seam.h"

namespace onnxtool {
namespace {

std::unique_ptr<Model> parse(const std::string& text) {
  auto model = parse_text(text);
  REQUIRE_MESSAGE(model.ok(), (model.ok() ? "" : model.error().message));
  return *std::move(model);
}

std::string visited;  // by kRecord

bool record(const Node& node, Rewriter&, const PassContext&) {
  visited += node.op_type() + " ";
  return false;
}

bool flip(const Node& node, Rewriter& rw, const PassContext&) {
  rw.set_op(node, node.is("Neg") ? "Abs" : "Neg");
  return true;
}

bool lie(const Node& node, Rewriter& rw, const PassContext&) {
  rw.set_op(node, "Abs");
  return false;
}

// Removes itself and everything behind it that reads it.
bool cut(const Node& node, Rewriter& rw, const PassContext&) {
  if (!node.has_output(0) || node.output(0).is_graph_output()) return false;
  rw.replace_uses(node.output(0), node.input(0));
  return true;
}

struct Match {
  const Node& node;
};
MatchOr<Match> near(const Node& node) {
  if (!node.is("Neg")) return no_match();
  return no_match("never");
}
void nothing(const Match&, Rewriter&) {}

constexpr PassInfo kRecord{.name = "record", .summary = "", .run = record};
constexpr PassInfo kRecordNeg{.name = "record-neg", .summary = "", .roots = {"Neg"}, .run = record};
constexpr PassInfo kFlip{.name = "flip", .summary = "", .roots = {"Neg", "Abs"}, .run = flip};
constexpr PassInfo kLie{.name = "lie", .summary = "", .roots = {"Neg"}, .run = lie};
constexpr PassInfo kCut{.name = "cut", .summary = "", .roots = {"Neg"}, .run = cut};
constexpr PassInfo kNear{.name = "near", .summary = "", .run = run_rule<near, nothing>};

std::vector<PassReport> run(Model& model, const PassInfo& pass, const PassContext& context = {}) {
  const PassInfo* list[] = {&pass};
  return run_passes(model, list, context);
}

constexpr const char* kNested =
    R"(<ir_version: 8, opset_import: ["" : 13, "acme" : 1]> g (bool p, float[2] x) => (float[2] y)
  { a = Neg (x)
    b = If (p) <then_branch = t () => (float[2] u) { u = Exp (a) }, else_branch = e () => (float[2] w) { v = Neg (a)  w = Abs (v) }>
    c = acme.Neg (b)
    y = Abs (c) })";

TEST_CASE("nodes are offered in order, subgraphs before the node that holds them") {
  const auto m = parse(kNested);
  visited.clear();
  run(*m, kRecord);
  CHECK(visited == "Neg Exp Neg Abs If Neg Abs ");
}

TEST_CASE("roots are operators of the standard") {
  const auto m = parse(kNested);
  visited.clear();
  run(*m, kRecordNeg);
  CHECK(visited == "Neg Neg ");  // not acme.Neg
}

TEST_CASE("bodies of local functions are not offered") {
  const auto m = parse(
      R"(<ir_version: 8, opset_import: ["" : 13, "local" : 1]> g (float[2] x) => (float[2] y) { y = local.f (x) }
    <domain: "local", opset_import: ["" : 13]> f (i) => (o) { o = Neg (i) })");
  visited.clear();
  run(*m, kRecord);
  CHECK(visited == "f ");
}

TEST_CASE("rules that undo each other are our mistake, not an endless run") {
  const auto m = parse(kNested);
  CHECK_THROWS_AS(run(*m, kFlip), InternalError);
}

TEST_CASE("a rule that edits says so") {
  const auto m = parse(kNested);
  CHECK_THROWS_AS(run(*m, kLie), InternalError);
}

TEST_CASE("fired rules are counted, and their leftovers removed") {
  const auto m = parse(
      R"(<ir_version: 8, opset_import: ["" : 13]> g (float[2] x) => (float[2] y) { a = Neg (x)  b = Neg (a)  c = Neg (b)  y = Abs (c) })");
  const auto reports = run(*m, kCut);
  CHECK(reports.size() == 1);
  CHECK(reports[0].pass == "cut");
  CHECK(reports[0].fired == 3);
  CHECK(m->graph().num_nodes() == 1);
}

TEST_CASE("near misses are told with their reason") {
  const auto m = parse(kNested);
  std::vector<std::string> told;
  PassContext context;
  context.on_near_miss = [&](const PassInfo&, const Node& n, const char* reason) {
    told.push_back(n.op_type() + ": " + reason);
  };
  run(*m, kNear, context);
  // acme.Neg is no Neg.
  CHECK(told == std::vector<std::string>{"Neg: never", "Neg: never"});
}

TEST_CASE("initializers that nothing reads go, defaults of inputs stay") {
  const auto m = parse(
      R"(<ir_version: 8, opset_import: ["" : 13]> g (bool p, float[2] x, float[2] d = {1, 2}) => (float[2] y) <float[2] w = {3, 4}>
    { y = If (p) <then_branch = t () => (float[2] u) <float[2] i = {5, 6}> { u = Neg (x) }, else_branch = e () => (float[2] v) { v = Abs (x) }> })");
  run_passes(*m, {}, {});
  CHECK(m->graph().find("w") == nullptr);
  CHECK(m->graph().find("d")->initializer());
  m->graph().find("y")->producer()->for_each_subgraph(
      [](Graph& sub) { CHECK(sub.find("i") == nullptr); });
}

}  // namespace
}  // namespace onnxtool
