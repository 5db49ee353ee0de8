// The verifier finds what differs, passes what only rounds, and never calls nothing a comparison.
#include "calib/compare/verifier.h"

#include <doctest/doctest.h>

#include "libopt/analysis/seam.h"
#include "libopt/rewrite/driver.h"

namespace onnxtool {
namespace {

constexpr const char* kHeader = "<ir_version: 10, opset_import: [\"\" : 21, \"acme\" : 1]> ";

std::unique_ptr<Model> model_of(const std::string& text) {
  auto model = parse_text(kHeader + text);
  REQUIRE(model.ok());
  REQUIRE(infer_graph((*model)->graph()).ok());
  return *std::move(model);
}

Verification compared(const std::string& before, const std::string& after, Exactness exactness) {
  const auto a = model_of(before), b = model_of(after);
  return make_verifier(*a, quick_verification(1))->verify(*b, exactness);
}

// A rule that is wrong: subtracts in the other order wherever it may.
bool swap_operands(const Node& node, Rewriter& rw, const PassContext&) {
  if (node.name() == "innocent" || node.metadata.size() == 1) return false;
  const_cast<Node&>(node).metadata.emplace_back("seen", "");
  Value& a = node.input(0);
  Value& b = node.input(1);
  rw.set_input(node, 0, &b);
  rw.set_input(node, 1, &a);
  return true;
}

bool rename_type(const Node& node, Rewriter& rw, const PassContext&) {
  rw.replace_uses(node.output(0), node.input(0));
  rw.remove(node);
  return true;
}

constinit const PassInfo kWrong{.name = "wrong",
                                .summary = "",
                                .roots = {"Sub"},
                                .exactness = Exactness::kExact,
                                .run = swap_operands};
constinit const PassInfo kRight{.name = "right",
                                .summary = "",
                                .roots = {"Dropout"},
                                .exactness = Exactness::kExact,
                                .run = rename_type};

TEST_CASE("the same function by other nodes is equal, another one is not") {
  const std::string relu = "g (float[N,3] x) => (float[N,3] y) { y = Relu (x) }";
  const auto equal =
      compared(relu, "g (float[N,3] x) => (float[N,3] y) <float z = {0}> { y = Max (x, z) }",
               Exactness::kExact);
  CHECK(equal.equal);
  CHECK(equal.inputs == 3);
  CHECK(equal.elements > 0);
  const auto other =
      compared(relu, "g (float[N,3] x) => (float[N,3] y) { y = Abs (x) }", Exactness::kExact);
  CHECK_FALSE(other.equal);
  CHECK(other.difference.find("output 'y'") != std::string::npos);
}

TEST_CASE("NaN at the same place is equal, elsewhere it is not") {
  const std::string log = "g (float[8] x) => (float[8] y) { y = Log (x) }";
  CHECK(compared(log, "g (float[8] x) => (float[8] y) { t = Log (x)  y = Identity (t) }",
                 Exactness::kExact)
            .equal);
  CHECK_FALSE(compared(log, "g (float[8] x) => (float[8] y) { t = Abs (x)  y = Log (t) }",
                       Exactness::kRounding)
                  .equal);
}

TEST_CASE("a mask that hides a whole row shows what becomes of the row") {
  const std::string in = "g (float[2,3] s, float[2,3] mask) => (float[2,3] y) ";
  const auto result = compared(in + "{ a = Add (s, mask) y = Softmax (a) }",
                               in + "<float zero = {0}> { a = Add (s, mask) p = Softmax (a) "
                                    "n = IsNaN (p) y = Where (n, zero, p) }",
                               Exactness::kRounding);
  CHECK(!result.equal);
}

TEST_CASE("the sign of zero is a bit") {
  CHECK_FALSE(compared("g (float[8] x) => (float[8] y) <float z = {0}> { y = Mul (x, z) }",
                       "g (float[8] x) => (float[8] y) { t = Sub (x, x)  y = Identity (t) }",
                       Exactness::kExact)
                  .equal);
}

TEST_CASE("rounding is no difference for rounding passes, a wrong constant is one") {
  const std::string before =
      "g (float[4,4] x) => (float[4,4] y) <float a = {3.0}, float b = {7.0}> { t = Mul (x, a)  y = "
      "Mul (t, b) }";
  CHECK(compared(before, "g (float[4,4] x) => (float[4,4] y) <float a = {21.0}> { y = Mul (x, a) }",
                 Exactness::kRounding)
            .equal);
  CHECK_FALSE(compared(before,
                       "g (float[4,4] x) => (float[4,4] y) <float a = {21.001}> { y = Mul (x, a) }",
                       Exactness::kRounding)
                  .equal);
}

TEST_CASE("another shape or type is a difference") {
  const std::string before = "g (float[N,2] x) => (float[N,M] y) { y = Relu (x) }";
  CHECK_FALSE(compared(before,
                       "g (float[N,2] x) => (float[N,M] y) <int64[2] s = {-1, 1}> { t = Relu (x)  "
                       "y = Reshape (t, s) }",
                       Exactness::kRounding)
                  .equal);
}

TEST_CASE("inputs on which the original fails are discarded; nothing compared is not verified") {
  // 6 is no multiple of 5, nor is any other extent that is tried.
  const std::string before =
      "g (float[N,7] x) => (float[A,B] y) <int64[2] s = {5, -1}> { t = Relu (x)  y = Reshape (t, "
      "s) }";
  const auto v = compared(before, before, Exactness::kExact);
  CHECK(v.discarded == 8);
  CHECK_FALSE(v.compared_anything());
  CHECK(v.unverified_nodes == 2);
  CHECK_FALSE(v.obstacle.empty());
}

TEST_CASE("custom operators are cut out, and what surrounds them is compared") {
  const std::string before =
      "g (float[2] x) => (float[2] y) <float[2] t> { s = Relu (x)  t = acme.Twist (s)  y = Relu "
      "(t) }";
  const auto same = compared(before, before, Exactness::kExact);
  CHECK(same.equal);
  CHECK(same.unverified_nodes == 1);
  CHECK(same.compared_anything());
  CHECK_FALSE(compared(before,
                       "g (float[2] x) => (float[2] y) <float[2] t> { s = Abs (x)  t = acme.Twist "
                       "(s)  y = Relu (t) }",
                       Exactness::kExact)
                  .equal);
  CHECK_FALSE(compared(before,
                       "g (float[2] x) => (float[2] y) <float[2] t> { s = Relu (x)  t = acme.Twist "
                       "(s)  y = Abs (t) }",
                       Exactness::kExact)
                  .equal);
}

TEST_CASE("a breach names the pass and the node") {
  auto model = model_of(
      "g (float[3] x, float[3] z) => (float[3] y)"
      "{ t = Dropout (x)  [innocent] u = Sub (t, z)  v = Dropout (u)  [guilty] y = Sub (v, z) }");
  const PassInfo* passes[] = {&kRight, &kWrong};
  const auto verifier = make_verifier(*model, quick_verification(1));
  const VerifiedRun run = run_verified(model, passes, PassContext(), verifier.get());
  REQUIRE(run.breach.has_value());
  CHECK(run.breach->pass == "wrong");
  CHECK(run.breach->node == "node 'guilty' (Sub)");
}

// A rule that brings to light what the original hides: a node whose types never fit.
bool unhide(const Node& node, Rewriter& rw, const PassContext&) {
  if (!node.has_input(0) || node.input(0).type().shape) return false;
  rw.replace_uses(node.output(0), *node.graph().inputs()[0]);
  rw.remove(node);
  return true;
}
constinit const PassInfo kUnhide{.name = "unhide",
                                 .summary = "",
                                 .roots = {"Reshape"},
                                 .exactness = Exactness::kExact,
                                 .run = unhide};

TEST_CASE("a pass that brings a contradiction of types to light is left out") {
  // Of the Reshape nothing is known; MatMul of x itself would not fit.
  auto model = model_of(
      "g (float[3] x, int64[N] s, float[2] w) => (float[M] y, float[3] z)"
      "{ r = Dropout (x)  u = Identity (s)  t = Reshape (r, u)  q = Reshape (t, u)  y = MatMul (q, "
      "w)  z = Relu (r) }");
  const PassInfo* passes[] = {&kRight, &kUnhide};
  const VerifiedRun run = run_verified(model, passes, PassContext(), nullptr);
  CHECK_FALSE(run.breach.has_value());
  REQUIRE(run.dropped.size() == 1);
  CHECK(run.dropped[0].pass == "unhide");
  CHECK(run.passes.size() == 1);
  CHECK(run.passes[0].fired == 1);
}

}  // namespace
}  // namespace onnxtool
