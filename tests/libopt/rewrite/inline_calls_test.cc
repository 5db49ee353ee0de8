// A model without functions of its own: what goes with them.
#include "libopt/rewrite/inline_calls.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "libopt/analysis/seam.h"

namespace onnxtool {
namespace {

std::unique_ptr<Model> calling_model(const std::string& result) {
  auto model = parse_text(
      R"(<ir_version: 10, opset_import: ["" : 21, "d" : 1, "e" : 1]> g (float[4] x) => (float[4] y) {
           a = d.Twice (x)  y = )" +
      result + R"( }
         <domain: "d", opset_import: ["" : 21, "e" : 1]> Twice (v) => (w) { u = e.Own (v) w = Add (u, u) }
         <domain: "e", opset_import: ["" : 21]> Own (v) => (w) { w = Relu (v) })");
  REQUIRE_MESSAGE(model.ok(), (model.ok() ? "" : model.error().message));
  return *std::move(model);
}

bool imports_domain(const Model& model, std::string_view domain) {
  return std::ranges::any_of(model.opsets,
                             [&](const OpsetImport& o) { return o.domain == domain; });
}

TEST_CASE("inline calls: a model's functions go, and the imports that were theirs alone") {
  const auto model = calling_model("Neg (a)");
  REQUIRE(inline_functions(*model).ok());
  CHECK(model->functions.empty());
  std::vector<std::string> ops;
  for (const Node& n : model->graph().nodes()) ops.push_back(n.op_type());
  CHECK(ops == std::vector<std::string>{"Relu", "Add", "Neg"});
  CHECK(imports_domain(*model, ""));
  CHECK_FALSE(imports_domain(*model, "d"));
  CHECK_FALSE(imports_domain(*model, "e"));
}

TEST_CASE("inline calls: a domain that has other operators stays imported") {
  const auto model = calling_model("e.Foreign (a)");
  REQUIRE(inline_functions(*model).ok());
  CHECK_FALSE(imports_domain(*model, "d"));
  CHECK(imports_domain(*model, "e"));
}

}  // namespace
}  // namespace onnxtool
