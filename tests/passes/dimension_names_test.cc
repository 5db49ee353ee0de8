// The names that values are declared with where extents are equal: which they get, and what keeps
// its own.
#include <doctest/doctest.h>

#include "calib/exec/folder.h"
#include "libopt/analysis/seam.h"
#include "libopt/rewrite/driver.h"
#include "passes/pass.h"

namespace onnxtool {
namespace {

struct NamedDims {
  std::unique_ptr<Model> model;
  int fired = 0;
  std::string of(const char* name) const {
    const Value* v = model->graph().find(name);
    REQUIRE(v);
    return v->has_value_info || v->is_graph_output() ? format_type(v->type()) : "-";
  }
};

NamedDims named(const std::string& text, std::span<const PassInfo* const> passes) {
  auto parsed =
      parse_text("<ir_version: 10, opset_import: [\"\" : 21]> g (float[N, 2, H, W] x) => " + text);
  REQUIRE_MESSAGE(parsed.ok(), (parsed.ok() ? "" : parsed.error().message));
  NamedDims out{*std::move(parsed)};
  REQUIRE(infer_graph(out.model->graph()).ok());
  const auto folder = make_folder();
  PassContext context;
  context.folder = folder.get();
  context.max_growth_bytes = 1000;
  for (const PassReport& p : run_passes(*out.model, passes, context))
    if (p.pass == kDeduplicateDimensions.name) out.fired = p.fired;
  return out;
}

NamedDims named(const std::string& text) {
  static constexpr const PassInfo* kOnly[] = {&kDeduplicateDimensions};
  return named(text, kOnly);
}

constexpr const char* kAdded =
    "{ t = Conv <strides = [2, 2]> (x, w)  u = Conv <strides = [2, 2]> (x, w)  c = Add (t, u)  "
    "r = Relu (u)  y = Relu (c) }";
const std::string kWeight = "float[2,2,1,1] w = {1,2,3,4}";

TEST_CASE("dimension names: the shortest of the file's, everywhere") {
  const NamedDims out = named("(y) <" + kWeight +
                              ", float[N,2,h10,w10] t, float[N,2,h2,w2] u, "
                              "float[N,2,h10,w2] r> " +
                              kAdded);
  CHECK(out.fired == 1);
  for (const char* name : {"t", "u", "r"}) CHECK(out.of(name) == "float[N, 2, h2, w2]");
  CHECK(out.of("c") == "-");
}

TEST_CASE("dimension names: those that callers know go first") {
  const NamedDims out = named("(float[N,2,height,width] y) <" + kWeight +
                              ", float[N,2,h,w] t, float[N,2,h2,w2] u> " + kAdded);
  CHECK(out.fired == 1);
  CHECK(out.of("t") == "float[N, 2, height, width]");
  CHECK(out.of("u") == "float[N, 2, height, width]");
  CHECK(out.of("y") == "float[N, 2, height, width]");
}

TEST_CASE("dimension names: new ones are nobody's") {
  const NamedDims out =
      named("(y, int64[d0, d2] z) <" + kWeight +
            ", int64[1] one = {1}> { t = Conv <strides = [2, 2]> (x, w)  u = Conv "
            "<strides = [2, 2]> (x, w)  c = Add (t, u)  y = Relu (c)  i = NonZero "
            "(x)  z = Neg (i) }");
  CHECK(out.fired == 1);
  CHECK(out.of("t") == "float[N, 2, d1, d3]");
  CHECK(out.of("u") == "float[N, 2, d1, d3]");
}

TEST_CASE("dimension names: a name that a subgraph declares stays") {
  const NamedDims out = named(
      "(y) <" + kWeight +
      ", bool b = {1}, float[N,2,h,w] t, float[N,2,s,w] u> { t = Conv <strides = "
      "[2, 2]> (x, w)  u = Conv <strides = [2, 2]> (x, w)  c = Add (t, u)  q = Neg (c)  y = If (b) "
      "<then_branch = p () => (float[N,2,s,w] e) { e = Relu (c) }, else_branch = n () => (f) { f = "
      "Relu (q) }> }");
  CHECK(out.fired == 0);
  CHECK(out.of("u") == "float[N, 2, s, w]");
}

TEST_CASE("dimension names: sums of what is not known to be equal share none") {
  const NamedDims out = named(
      "(y) <" + kWeight +
      ", float[N,2,h,w] t, float[N,2,i,j] u> { t = Conv <strides = [2, 2]> "
      "(x, w)  u = Conv <strides = [2, 2], pads = [1,1,0,0]> (x, w)  c = Add (t, u)  y = Relu "
      "(c) }");
  CHECK(out.fired == 0);
  CHECK(out.of("t") == "float[N, 2, h, w]");
  CHECK(out.of("u") == "float[N, 2, i, j]");
}

TEST_CASE("dimension names: the passes that go by extents come first") {
  // Half of H, as Shape and Div compute it, is what the convolution leaves.
  const std::string text =
      "(y) <" + kWeight +
      ", float[2,2,1,1] v = {4,3,2,1}> { t = Conv <strides = [2, 2]> (x, w)  u = "
      "Conv <strides = [2, 2]> (x, v)  c = Add (t, u)  s = Shape (c)  k = Shape (t)  "
      "f = Reshape (c, k)  y = Expand (f, s) }";
  const NamedDims out = named(text, optimization_pipeline());
  CHECK(out.fired == 1);
  CHECK(out.of("t") == "float[N, 2, d0, d1]");
  CHECK(out.model->graph().num_nodes() == 3);
}

TEST_CASE("dimension names: what a branch declares hides nothing once the branch is in place") {
  // The branch calls the batch n: Shape and Expand go where N is seen through it.
  const NamedDims out = named(
      "(y) <bool b = {1}> { t = If (b) <then_branch = p () => (float[n,2,h,w] e) { e = Neg "
      "(x) }, else_branch = q () => (float[n,2,h,w] f) { f = Abs (x) }>  s = Shape (x)  r = "
      "Exp (t)  y = Expand (r, s) }",
      optimization_pipeline());
  CHECK(out.model->graph().num_nodes() == 2);
}

}  // namespace
}  // namespace onnxtool
