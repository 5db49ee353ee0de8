// What nodes say that they were made of, and that comparisons of layers go by it.
#include "libopt/analysis/provenance.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "libopt/analysis/align.h"
#include "libopt/analysis/seam.h"
#include "libopt/convert/strip.h"
#include "libopt/io/encode.h"
#include "libopt/rewrite/driver.h"
#include "passes/pass.h"

namespace onnxtool {
namespace {

using Origins = std::vector<std::string>;

std::string convolution(int ir_version) {
  return "<ir_version: " + std::to_string(ir_version) +
         R"(, opset_import: ["" : 17]> g (float[1,1,2,2] x) => (float[1,1,2,2] y)
  <float[1,1,1,1] w = {2.0}, float[1] s = {3.0}, float[1] b = {1.0}, float[1] m = {0.0}, float[1] v = {1.0}>
  { [first] t = Conv (x, w)  [norm] u = BatchNormalization (t, s, b, m, v)  [same] i = Identity (u)
    [last] y = Relu (i) })";
}

std::unique_ptr<Model> parse(const std::string& text) {
  auto model = parse_text(text);
  REQUIRE(model.ok());
  REQUIRE(infer_graph((*model)->graph()).ok());
  return *std::move(model);
}

void optimize(Model& model) {
  PassContext context;
  context.provenance = true;
  run_passes(model, optimization_pipeline(), context);
}

TEST_CASE("provenance: what is folded into a node is part of it, and the rest says nothing") {
  for (const int ir_version : {8, 10}) {
    const auto model = parse(convolution(ir_version));
    optimize(*model);
    REQUIRE(model->graph().num_nodes() == 2);
    const auto origins = provenance_of(model->graph());
    CHECK(origins.size() == 1);
    CHECK(origins.at("first") == Origins{"first", "norm", "same"});
    CHECK(model->metadata.size() == (ir_version < 10 ? 1 : 0));
    const std::string once = encode_model(*model).flatten();
    optimize(*model);
    CHECK(encode_model(*model).flatten() == once);
    CHECK(strip(*model) > 0);
    CHECK(provenance_of(model->graph()).empty());
  }
}

TEST_CASE("provenance: a second run goes back to the first one's original") {
  const auto model = parse(convolution(10));
  PassContext context;
  context.provenance = true;
  const PassInfo* first[] = {find_pass("fold-batch-norm")};
  run_passes(*model, first, context);
  optimize(*model);
  CHECK(provenance_of(model->graph()).at("first") == Origins{"first", "norm", "same"});
}

TEST_CASE("provenance: a node that is new is made of what it stands for") {
  const auto model = parse(
      R"(<ir_version: 10, opset_import: ["" : 17]> g (float[2,4] x) => (float[2,4] z)
  <float eps = {1e-5}, float two = {2}, float[4] s = {1,2,3,4}>
  { [a] m = ReduceMean <axes = [-1]> (x)  [b] d = Sub (x, m)  [c] q = Pow (d, two)
    [d] v = ReduceMean <axes = [-1]> (q)  [e] w = Add (v, eps)  [f] r = Sqrt (w)  [g] n = Div (d, r)
    [h] y = Mul (n, s)  [i] z = Neg (y) })");
  const auto original = model->clone();
  optimize(*model);
  const auto origins = provenance_of(model->graph());
  REQUIRE(origins.size() == 1);
  CHECK(origins.begin()->second == Origins{"a", "b", "c", "d", "e", "f", "g", "h"});
  const auto aligned = align_values(original->graph(), model->graph());
  const auto found = std::ranges::find(aligned, AlignedValues::By::kProvenance, &AlignedValues::by);
  REQUIRE(found != aligned.end());
  CHECK(found->reference->name() == "y");
  CHECK(found->test->producer()->is("LayerNormalization"));
}

TEST_CASE("provenance: layers are compared with what they were made of, not with their name") {
  // The Conv keeps its result's name, and its result is what the normalization's was.
  const auto model = parse(convolution(10));
  const auto original = model->clone();
  optimize(*model);
  const auto aligned = align_values(original->graph(), model->graph());
  REQUIRE(!aligned.empty());
  CHECK(aligned[0].test->producer()->is("Conv"));
  CHECK(aligned[0].reference->producer()->is("Identity"));
  CHECK(aligned[0].by == AlignedValues::By::kProvenance);
}

TEST_CASE("provenance: an integer operator is made of what it stands for") {
  const auto model = parse(
      R"(<ir_version: 10, opset_import: ["" : 17]> g (float[1,1,2,2] x) => (float[1,1,2,2] y)
  <float s = {0.5}, uint8 z = {128}, int8[1,1,1,1] w = {2}, int8 wz = {0}>
  { [q] c = QuantizeLinear (x, s, z)  [dx] a = DequantizeLinear (c, s, z)
    [dw] b = DequantizeLinear (w, s, wz)  [conv] t = Conv (a, b)
    [qy] d = QuantizeLinear (t, s, z)  [dy] y = DequantizeLinear (d, s, z) })");
  PassContext context;
  context.provenance = true;
  context.ort_cpu = true;
  const PassInfo* pass = &kFuseQdq;
  CHECK(run_passes(*model, {&pass, 1}, context)[0].fired == 1);
  REQUIRE(model->graph().num_nodes() == 3);
  const auto origins = provenance_of(model->graph());
  CHECK(origins.size() == 1);
  CHECK(origins.begin()->second == Origins{"dx", "dw", "conv", "qy"});
}

}  // namespace
}  // namespace onnxtool
