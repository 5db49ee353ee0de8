// Passes on what fixtures are too small for: names that look like numbers, and long chains.

#include <doctest/doctest.h>

#include "libopt/analysis/seam.h"
#include "libopt/rewrite/driver.h"
#include "passes/deduplicate.h"
#include "passes/pass.h"

namespace onnxtool {
namespace {

TEST_CASE("nodes that read different outer values stay apart, whatever these are called") {
  std::string inputs;
  for (int i = 0; i < 14; ++i) inputs += ", float v" + std::to_string(i);
  const auto model = parse_text(
      "<ir_version: 10, opset_import: [\"\" : 21]> g (bool c" + inputs +
      ") => (float y) { y = If (c) <"
      "then_branch = t () => (float p) { p1 = Neg (v0)  p2 = Neg (v11)  p = Add (p1, p2) }, "
      "else_branch = e () => (float q) { q = Neg (v0) }> }");
  REQUIRE(model.ok());
  Graph& graph = (*model)->graph();
  Value& a = *graph.find("v0");
  Value& b = *graph.find("v11");
  // The id of b begins with that of a: the rest of it and the name of b make the name of a.
  const std::string id = std::to_string(a.id()), longer = std::to_string(b.id());
  REQUIRE(longer.starts_with(id));
  graph.rename(b, "3");
  graph.rename(a, longer.substr(id.size()) + "3");
  graph.nodes().begin().node->for_each_subgraph([](Graph& branch) {
    if (branch.num_nodes() == 3) CHECK(deduplicate_nodes(branch) == 0);
  });
}

TEST_CASE("a long chain of Concat is joined in one rewrite") {
  constexpr int kLength = 3000;
  std::string nodes;
  for (int i = 1; i < kLength; ++i) {
    const std::string before = i == 1 ? "a" : "t" + std::to_string(i - 1);
    nodes += (i + 1 == kLength ? "y" : "t" + std::to_string(i)) + " = Concat <axis = 0> (" +
             before + ", a) ";
  }
  const auto model =
      parse_text("<ir_version: 10, opset_import: [\"\" : 21]> g (float[1] a) => (float[" +
                 std::to_string(kLength) + "] y) { " + nodes + "}");
  REQUIRE(model.ok());
  REQUIRE(infer_graph((*model)->graph()).ok());
  const PassInfo* const passes[] = {find_pass("fuse-concats")};
  const auto reports = run_passes(**model, passes, {});
  CHECK(reports.front().fired == 1);
  REQUIRE((*model)->graph().num_nodes() == 1);
  CHECK((*model)->graph().nodes().begin().node->num_inputs() == kLength);
}

}  // namespace
}  // namespace onnxtool
