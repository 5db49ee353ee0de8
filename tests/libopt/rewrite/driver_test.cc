#include "libopt/rewrite/driver.h"

#include <doctest/doctest.h>

#include "libopt/analysis/seam.h"
#include "libopt/ir/selector.h"
#include "passes/pass.h"

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

// Layer normalization spelled out, of input x: one node from opset 17 on.
const std::string kLayerNorm =
    "m = ReduceMean <axes = [-1]> (x)  d = Sub (x, m)  q = Pow (d, two) "
    "v = ReduceMean <axes = [-1]> (q)  e = Add (v, eps)  r = Sqrt (e)  z = Div (d, r) "
    "y = Mul (z, s) ";

struct Raised {
  int opset;
  int fired;
  std::string obstacle;
};

Raised raise(const std::string& text, std::initializer_list<const char*> names, int allowed,
             const std::string& kept = {}) {
  const auto model = parse(text);
  REQUIRE(infer_graph(model->graph()).ok());
  std::vector<const PassInfo*> passes;
  for (const char* name : names) passes.push_back(find_pass(name));
  Selector keep;
  if (!kept.empty()) keep = *Selector::parse({kept});
  PassState state;
  PassContext context;
  context.state = &state;
  context.allowed_opset = allowed;
  context.max_growth_bytes = 64;  // names of nodes that conversions add
  context.keep = &keep;
  Raised out{0, 0, {}};
  for (const PassReport& r : run_passes(*model, passes, context)) out.fired += r.fired;
  out.opset = model->opset("");
  out.obstacle = state.opset_obstacle;
  return out;
}

TEST_CASE("raise opset: what is kept must mean the same") {
  const std::string model =
      "<ir_version: 6, opset_import: [\"\" : 11]> g (float[2,4,16] x, float[2,4,16] i) => "
      "(float[2,4,16] y, float[2,4,16] o) <float eps = {1e-5}, float two = {2}, float[16] s = "
      "{1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16}> { [soft] o = Softmax <axis = 1> (i) " +
      kLayerNorm + "}";
  CHECK(raise(model, {"fuse-layer-norm"}, 17).opset == 17);
  const Raised kept = raise(model, {"fuse-layer-norm"}, 17, "op:Softmax");
  CHECK(kept.opset == 11);
  CHECK(kept.fired == 0);
  CHECK(kept.obstacle ==
        "cannot raise ai.onnx from 11 to 17: what is kept would mean something else: 'soft' "
        "(Softmax)");
  // What no version changed is no obstacle.
  const std::string other = "<ir_version: 6, opset_import: [\"\" : 11]> g (float[2,4] x, float[2] "
                            "i) => (float[2,4] y, float[2] o) <float eps = {1e-5}, float two = "
                            "{2}, float[4] s = {1,2,3,4}> { o = Neg (i) " +
                            kLayerNorm + "}";
  CHECK(raise(other, {"fuse-layer-norm"}, 17, "op:Neg").opset == 17);
}

TEST_CASE("raise opset: a version is taken only if the model does not grow by it") {
  std::string model =
      "<ir_version: 8, opset_import: [\"\" : 18]> g (float[n,3,4] x, float[2,4,3] h0) => "
      "(float[n,3,4] y, float[2,4,3] h8) <float eps = {1e-5}, float two = {2}, float[4] s = "
      "{1,2,3,4}, int64[1] axes = {-1}, float[2] gs = {1,2}, float[2] gb = {0,1}> "
      "{ q = Pow (x, two)  v = ReduceMean (q, axes)  e = Add (v, eps)  r = Sqrt (e) "
      "z = Div (x, r)  y = Mul (z, s) ";
  std::string alone = model, many = model;
  for (int i = 0; i < 8; ++i)
    many += "h" + std::to_string(i + 1) + " = GroupNormalization <num_groups = 2> (h" +
            std::to_string(i) + ", gs, gb) ";
  const Raised grown = raise(many + "}", {"fuse-rms-norm"}, 23);
  CHECK(grown.opset == 18);
  CHECK(grown.fired == 0);
  CHECK(grown.obstacle.starts_with("at ai.onnx 23 the model would be larger: "));
  CHECK(raise(alone + "h8 = Neg (h0) }", {"fuse-rms-norm"}, 23).opset == 23);
}

TEST_CASE("raise opset: where the latest version is out of reach, an earlier one is tried") {
  const std::string model =
      "<ir_version: 7, opset_import: [\"\" : 13]> g (float[2,4] x, float[2,4] w) => (float[2,4] "
      "y, float[2,4] t, float[2,1] o) <float eps = {1e-5}, float two = {2}, float[4] s = "
      "{1,2,3,4}> { [top] o = ReduceMax <axes = [1]> (w) " +
      kLayerNorm +
      "a = Pow (w, two)  b = ReduceMean <axes = [-1]> (a)  c = Add (b, eps)  f = Sqrt (c) "
      "g = Div (w, f)  t = Mul (g, s) }";
  CHECK(raise(model, {"fuse-layer-norm", "fuse-rms-norm"}, 23).opset == 23);
  const Raised kept = raise(model, {"fuse-layer-norm", "fuse-rms-norm"}, 23, "op:ReduceMax");
  CHECK(kept.opset == 17);
  CHECK(kept.fired == 1);
  CHECK(kept.obstacle.starts_with("cannot raise ai.onnx from 13 to 23: "));
}

}  // namespace
}  // namespace onnxtool
