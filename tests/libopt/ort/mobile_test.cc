// What providers of phones would take: partitions, obstacles, verdicts.

#include "libopt/ort/mobile.h"

#include <doctest/doctest.h>

#include "libopt/analysis/seam.h"

namespace onnxtool {
namespace {

std::vector<MobileUsability> check(const std::string& graph, int opset = 17,
                                   const std::set<std::string>& stop = kNnapiStopOps) {
  auto model =
      parse_text("<ir_version: 8, opset_import: [\"\" : " + std::to_string(opset) + "]> " + graph);
  REQUIRE(model.ok());
  REQUIRE(infer_graph((*model)->graph()).ok());
  return check_mobile(**model, stop);
}
std::vector<int> sizes(const MobileUsability& u) {
  std::vector<int> out;
  for (const auto& part : u.as_is.partition.parts) out.push_back(static_cast<int>(part.size()));
  return out;
}
int blocked(const MobilePartitions& p, const std::string& op, MobileObstacle obstacle) {
  const auto at = p.obstacles.find({op, obstacle});
  return at == p.obstacles.end() ? 0 : at->second;
}

}  // namespace

TEST_CASE("mobile: one partition is a yes") {
  const auto all =
      check("g (float[2] x) => (float[2] y) { a = Relu (x) b = Sigmoid (a) y = Add (a, b) }");
  CHECK(all[0].provider == "NNAPI");
  CHECK(all[0].as_is.partition.taken == 3);
  CHECK(sizes(all[0]) == std::vector<int>{3});
  CHECK(all[0].as_is.verdict == MobileVerdict::kYes);
  CHECK(!all[0].if_fixed);
}
TEST_CASE("mobile: an unsupported node in the middle parts a chain, and not what runs beside it") {
  const auto chain =
      check("g (float[2] x) => (float[2] y) { a = Relu (x) b = Atan (a) y = Neg (b) }");
  CHECK(sizes(chain[0]) == std::vector<int>{1, 1});
  CHECK(chain[0].as_is.verdict == MobileVerdict::kNo);  // two thirds in two parts
  CHECK(blocked(chain[0].as_is, "ai.onnx.Atan", MobileObstacle::kOperator) == 1);
  const auto beside = check(
      "g (float[2] x) => (float[2] y, float[2] z) { a = Atan (x) y = Neg (a) b = Relu (x) z = Neg "
      "(b) }");
  CHECK(sizes(beside[0]) == std::vector<int>{3});
}
TEST_CASE("mobile: shapes that are not fixed, and what fixing them gains") {
  const auto all = check("g (float[N, 3] x) => (float[N, 3] y) { y = Relu (x) }");
  CHECK(all[0].as_is.partition.taken == 0);
  CHECK(blocked(all[0].as_is, "ai.onnx.Relu", MobileObstacle::kDynamicShape) == 1);
  REQUIRE(all[0].if_fixed);
  CHECK(all[0].if_fixed->verdict == MobileVerdict::kYes);
  CHECK(all[0].best() == MobileVerdict::kYes);
  CHECK(check("g (float[0] x) => (float[0] y) { y = Relu (x) }")[0].as_is.partition.taken == 0);
}
TEST_CASE("mobile: rank, opset and stop operators") {
  const char* transpose =
      "g (float[1,1,1,1,1,2] x) => (float[2,1,1,1,1,1] y) { y = Transpose <perm = [5,0,1,2,3,4]> "
      "(x) }";
  CHECK(check(transpose)[0].as_is.partition.taken == 1);
  CHECK(blocked(check(transpose)[1].as_is, "ai.onnx.Transpose", MobileObstacle::kRank) == 1);
  const auto old =
      check("g (float[1,1,4,4] x, float[1,1,1,1] w) => (float[1,1,4,4] y) { y = Conv (x, w) }", 10);
  CHECK(old[3].provider == "XNNPACK");
  CHECK(blocked(old[3].as_is, "ai.onnx.Conv", MobileObstacle::kVersion) == 1);
  const char* chain = "g (float[2] x) => (float[2] y) { a = Relu (x) b = Sqrt (a) y = Neg (b) }";
  CHECK(check(chain, 17, {"Sqrt"})[0].as_is.partition.taken == 1);
  CHECK(blocked(check(chain, 17, {"Sqrt"})[0].as_is, "ai.onnx.Neg", MobileObstacle::kStopped) == 1);
  CHECK(check(chain, 17, {"Sqrt"})[1].as_is.partition.taken == 2);  // NNAPI alone stops
}
TEST_CASE("mobile: constants are no nodes, subgraphs count") {
  const auto all = check(
      "g (float[2] x, bool c) => (float[2] y) { k = Constant <value_floats = [1.0, 2.0]> () a = "
      "Add (x, k) "
      "y = If (c) < then_branch = t () => (float[2] p) { p = Relu (a) }, else_branch = e () => "
      "(float[2] q) { q = Neg (a) }> }");
  CHECK(all[0].as_is.partition.nodes == 4);
  CHECK(all[0].as_is.partition.nodes_in_subgraphs == 2);
  CHECK(all[0].as_is.partition.taken == 3);
}
TEST_CASE("mobile: nothing to compute is a no") {
  CHECK(check("g (float[2] x) => (float[2] x) { }")[0].as_is.verdict == MobileVerdict::kNo);
}
}  // namespace onnxtool
