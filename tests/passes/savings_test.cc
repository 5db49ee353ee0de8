// What other passes saved is spent on constants that take more than the nodes that compute them: a
// part of the file at most.

#include <doctest/doctest.h>

#include "calib/exec/folder.h"
#include "libopt/analysis/seam.h"
#include "libopt/rewrite/driver.h"
#include "passes/pass.h"

namespace onnxtool {
namespace {

// Two weights of 16 KiB, and a block of ones that a node computes.
std::string text(int block, bool equal_weights) {
  const auto weight = [](int first) {
    std::string numbers = std::to_string(first);
    for (int i = 1; i < 4096; ++i) numbers += ",1";
    return numbers;
  };
  const std::string n = std::to_string(block);
  return "<ir_version: 10, opset_import: [\"\" : 21]> g (float[4096] x, float[" + n +
         "] v) => (float[4096] y, float[" + n + "] z) <float[4096] a = {" + weight(2) +
         "}, float[4096] b = {" + weight(equal_weights ? 2 : 3) + "}, int64[1] n = {" + n +
         "}> { t = Mul (x, a)  u = Exp (t)  y = Mul (u, b)  c = ConstantOfShape <value = "
         "float[1] {1}> (n)  z = Sub (v, c) }";
}

int nodes_left(int block, bool equal_weights) {
  auto parsed = parse_text(text(block, equal_weights));
  REQUIRE_MESSAGE(parsed.ok(), parsed.error().message);
  Model& model = **parsed;
  REQUIRE(infer_graph(model.graph()).ok());
  const auto folder = make_folder();
  PassContext context;
  context.folder = folder.get();
  run_passes(model, optimization_pipeline(), context);
  return model.graph().num_nodes();
}

TEST_CASE("a weight less pays for a computed block") {
  CHECK(nodes_left(100, true) == 4);
  CHECK(nodes_left(100, false) == 5);
}

TEST_CASE("what is saved goes into blocks for a small part only") {
  CHECK(nodes_left(1000, true) == 5);
}

}  // namespace
}  // namespace onnxtool
