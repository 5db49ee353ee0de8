// What becomes of a model before it is stored as .ort.
#include <doctest/doctest.h>

#include <algorithm>

#include "libopt/analysis/seam.h"
#include "libopt/ort/prepare.h"

namespace onnxtool {
namespace {

std::unique_ptr<Model> prepared(const std::string& text, bool widen = true) {
  auto model = parse_text(text);
  REQUIRE_MESSAGE(model.ok(), model.error().message);
  OrtPrepareOptions options;
  options.widen_half_weights = widen;
  const auto notes = prepare_for_ort(**model, options);
  REQUIRE_MESSAGE(notes.ok(), notes.error().message);
  return *std::move(model);
}

std::vector<std::string> operators(const Graph& graph) {
  std::vector<std::string> out;
  for (const Node& n : graph.nodes()) out.push_back(n.op_type());
  return out;
}

using Ops = std::vector<std::string>;

}  // namespace

TEST_CASE("ort: constants of all forms and sparse initializers become initializers") {
  const auto model = prepared(R"(
<ir_version: 8, opset_import: ["" : 17]>
g (float[2] x) => (float[2] y, string[1] s, int64 i)
{
  f = Constant <value_float = 2.0> ()
  s = Constant <value_strings = ["hi"]> ()
  i = Constant <value_int = 3> ()
  y = Mul (x, f)
}
)");
  CHECK(operators(model->graph()) == Ops{"Mul"});
  CHECK(model->graph().find("f")->initializer()->rank() == 0);
  CHECK(model->graph().find("s")->initializer()->dims() == std::vector<int64_t>{1});
  CHECK(model->graph().find("i")->initializer()->to_ints() == std::vector<int64_t>{3});
}

TEST_CASE("ort: operators without a kernel become their definition, functions their bodies") {
  const auto model = prepared(R"(
<ir_version: 8, opset_import: ["" : 17, "local" : 1]>
g (float[2] x) => (float[2] y)
{ h = HardSwish (x)   y = local.twice (h) }
<domain: "local", opset_import: ["" : 17]>
twice (a) => (b) { b = Add (a, a) }
)");
  const Ops ops = operators(model->graph());
  CHECK(std::ranges::count(ops, "HardSwish") == 0);
  CHECK(std::ranges::count(ops, "HardSigmoid") == 1);
  CHECK(std::ranges::count(ops, "Add") == 1);
  CHECK(model->functions.empty());
}

TEST_CASE("ort: float16 without a kernel is computed in float, a chain without rounding between") {
  const char* text = R"(
<ir_version: 8, opset_import: ["" : 17]>
g (float16[2] x) => (float16[2] y)
<float16[2] w = {15360, 16384}>
{ a = Add (x, w)   m = Identity (a)   b = Sqrt (m)   r = Reshape (b, shape)   c = Transpose (r)   y = Sqrt (c) }
)";
  const std::string with_shape = std::string(text).replace(std::string(text).find("<float16[2] w"),
                                                           1, "<int64[1] shape = {2}, ");
  // m is alone between nodes in float and goes with them; Reshape and Transpose are two, and stay.
  CHECK(operators(prepared(with_shape)->graph()) == Ops{"Cast", "Add", "Identity", "Sqrt", "Cast",
                                                        "Reshape", "Transpose", "Cast", "Sqrt",
                                                        "Cast"});
  const auto weights = [&](bool widen) { return prepared(with_shape, widen); };
  CHECK(std::ranges::count(operators(weights(false)->graph()), "Cast") ==
        5);  // one for w, at every run
}

TEST_CASE(
    "ort: a weight of 4 bits becomes one of 8 with the same numbers, its zero point with it") {
  auto parsed = parse_text(R"(
<ir_version: 10, opset_import: ["" : 21]>
g (float[2] x, int4[3] w, int4 z) => (float[3] y)
<float scale = {0.5}>
{ y = DequantizeLinear (w, scale, z) }
)");
  REQUIRE_MESSAGE(parsed.ok(), parsed.error().message);
  Graph& graph = (*parsed)->graph();
  for (const char* name : {"w", "z"}) graph.remove_input(*graph.find(name));
  graph.set_initializer(
      *graph.find("w"),
      Tensor::from_bytes(DataType::kInt4, {3}, {std::byte{0x7f}, std::byte{0x08}}));  // -1, 7, -8
  graph.set_initializer(*graph.find("z"),
                        Tensor::from_bytes(DataType::kInt4, {}, {std::byte{0x0e}}));  // -2
  REQUIRE(prepare_for_ort(**parsed, {}).ok());
  const Node& node = *graph.nodes().begin().node;
  REQUIRE(node.input(0).constant());
  CHECK(node.input(0).constant()->dtype() == DataType::kInt8);
  CHECK(node.input(0).constant()->to_ints() == std::vector<int64_t>{-1, 7, -8});
  CHECK(node.input(2).constant()->to_ints() == std::vector<int64_t>{-2});
  CHECK(graph.find("w") == nullptr);
}

TEST_CASE(
    "ort: a subgraph's output from outside gets a node, equal names differ, old inputs become "
    "constants") {
  const auto model = prepared(R"(
<ir_version: 3, opset_import: ["" : 11]>
g (bool c, float[2] x, float[2] w) => (float[2] y)
<float[2] w = {1, 2}>
{
  [n] a = Add (x, w)
  [n] b = Neg (a)
  y = If (c) <then_branch = t () => (float[2] a) { }, else_branch = e () => (float[2] q) { q = Abs (b) }>
}
)");
  CHECK(model->ir_version >= 4);
  CHECK(model->graph().inputs().size() == 2);
  std::vector<std::string> names;
  for (const Node& n : model->graph().nodes()) {
    names.push_back(n.name());
    n.for_each_subgraph([&](const Graph& sub) { CHECK(sub.num_nodes() == 1); });
  }
  CHECK(names[0] == "n");
  CHECK(names[1] == "n_1");
}

TEST_CASE("ort: a declaration that contradicts the operators is overruled") {
  const auto model = prepared(R"(
<ir_version: 8, opset_import: ["" : 17]>
g (float[2,3] x) => (float[3,2] y)
<float[7] t>
{ t = Transpose (x)   y = Neg (t) }
)");
  CHECK(model->graph().find("t")->type().static_dims() == std::vector<int64_t>{3, 2});
}

}  // namespace onnxtool
