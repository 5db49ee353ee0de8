// Where a graph is cut between a provider and the CPU, and what is copied there.
#include "libopt/ort/partition.h"

#include <doctest/doctest.h>

#include "libopt/analysis/seam.h"

namespace onnxtool {
namespace {

struct Cut {
  std::unique_ptr<Model> model;
  Partition partition;
};

/// The provider takes everything but Tanh.
Cut cut(const std::string& graph, PartMemory memory = PartMemory::kShared) {
  auto model = parse_text("<ir_version: 8, opset_import: [\"\" : 17]> " + graph);
  REQUIRE(model.ok());
  REQUIRE(infer_graph((*model)->graph()).ok());
  Partition p =
      partition_graph((*model)->graph(), [](const Node& n) { return !n.is("Tanh"); }, memory);
  return {*std::move(model), std::move(p)};
}

std::string borders(const Partition& p) {
  std::string out;
  for (const Border& b : p.borders)
    out += (out.empty() ? "" : " ") + b.value->name() + (b.onto_provider ? "+" : "-") +
           (b.bytes ? std::to_string(*b.bytes) : "?");
  return out;
}

TEST_CASE("partition: what passes a border is counted once, whoever reads it") {
  const Cut c = cut(
      "g (float[4] x) => (float[4] y, float[4] z) <float[4] w = {1, 2, 3, 4}> "
      "{ a = Mul (x, w) b = Tanh (a) c = Abs (b) d = Neg (b) y = Add (c, d) z = Identity (a) }");
  CHECK(c.partition.nodes == 6);
  CHECK(c.partition.taken == 5);
  CHECK(borders(c.partition) == "x+16 a-16 b+16 y-16 z-16");
}

TEST_CASE("partition: parts that share no memory hand values over on the CPU") {
  const std::string graph =
      "g (float[4] x) => (float[4] y) { a = Abs (x) c = Neg (a) b = Tanh (a) y = Add (b, c) }";
  CHECK(borders(cut(graph).partition) == "x+16 a-16 b+16 y-16");
  const Cut apart = cut(graph, PartMemory::kCpuOnly);
  CHECK(apart.partition.parts.size() == 2);
  CHECK(borders(apart.partition) == "x+16 a-16 c-16 c+16 b+16 y-16");
}

TEST_CASE("partition: nothing is copied where nothing or all on the CPU runs") {
  CHECK(borders(cut("g (float[4] x) => (float[4] y) { y = Tanh (x) }").partition).empty());
  CHECK(borders(cut("g (float[N] x) => (float[N] y) { y = Abs (x) }").partition) == "x+? y-?");
}

TEST_CASE("partition: parts are in the order in which they are taken") {
  const Cut c = cut("g (float[4] x) => (float[4] y) { a = Abs (x) b = Tanh (a) y = Neg (b) }");
  REQUIRE(c.partition.parts.size() == 2);
  CHECK(c.partition.parts[0][0]->is("Abs"));
  CHECK(c.partition.parts[1][0]->is("Neg"));
}

}  // namespace
}  // namespace onnxtool
