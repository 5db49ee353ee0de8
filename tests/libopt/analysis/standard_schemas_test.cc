// The table of schemas beside onnx's own registry, which makes all of them at once.
#include <doctest/doctest.h>

#include <set>
#include <utility>

#include "libopt/analysis/seam.h"
#include "libopt/analysis/seam_internal.h"
#include "libopt/analysis/standard_schemas.h"
#include "libopt/analysis/verify.h"

namespace onnxtool::testing {
namespace {

TEST_CASE("schemas: every operator has in every opset the one of onnx's registry") {
  std::set<std::pair<std::string, std::string>> operators = {{"Nowhere", ""},
                                                             {"Conv", "ai.onnx.ml"}};
  for (const onnx::OpSchema& s : onnx::OpSchemaRegistry::get_all_schemas_with_history())
    operators.emplace(s.Name(), s.domain());
  CHECK(operators.size() > 200);
  for (const auto& [op_type, domain] : operators)
    for (int opset = 0; opset <= newest_opset("") + 1; ++opset) {
      CAPTURE(op_type);
      CAPTURE(domain);
      CAPTURE(opset);
      const onnx::OpSchema* theirs = onnx::OpSchemaRegistry::Schema(op_type, opset, domain);
      const onnx::OpSchema* ours = seam::standard_schema(op_type, domain, opset);
      REQUIRE((ours != nullptr) == (theirs != nullptr));
      if (!ours) continue;
      CHECK(ours->since_version() == theirs->since_version());
      CHECK(ours->inputs().size() == theirs->inputs().size());
      CHECK(ours->HasFunction() == theirs->HasFunction());
      CHECK(ours == seam::standard_schemas().GetSchema(op_type, opset, domain));
    }
}

}  // namespace
}  // namespace onnxtool::testing
