// Work of calls: what the called function's body multiplies.
#include "libopt/rewrite/work.h"

#include <doctest/doctest.h>

#include "libopt/analysis/seam.h"

namespace onnxtool {
namespace {

// Functions f0 to f`count - 1`, each of which calls the next; the last one does `inner`.
std::unique_ptr<Model> chain(int count, const std::string& inner) {
  std::string text =
      "<ir_version: 10, opset_import: [\"\" : 21, \"d\" : 1]> g (float[4, 4] x) => (float[4, 4] y) "
      "{ y = d.f0 (x) } ";
  for (int i = 0; i < count; ++i)
    text += "<domain: \"d\", opset_import: [\"\" : 21, \"d\" : 1]> f" + std::to_string(i) +
            " (a) => (b) { b = " +
            (i + 1 < count ? "d.f" + std::to_string(i + 1) + " (a)" : inner) + " } ";
  auto model = parse_text(text);
  REQUIRE_MESSAGE(model.ok(), (model.ok() ? "" : model.error().message));
  return *std::move(model);
}

std::optional<int64_t> work(const Model& model) {
  return WorkCounter().macs(*model.graph().nodes().begin());
}

TEST_CASE("work: a call costs what the functions behind it multiply") {
  CHECK(work(*chain(1, "MatMul (a, a)")) == 4 * 4 * 4);
  CHECK(work(*chain(5, "MatMul (a, a)")) == 4 * 4 * 4);
  CHECK(work(*chain(5, "Relu (a)")) == 0);
  CHECK(work(*chain(5, "d.f0 (a)")) == 0);  // a circle, in which nothing multiplies
}

TEST_CASE("work: a chain of calls may be as long as the file is") {
  CHECK(work(*chain(100'000, "Relu (a)")) == 0);
  CHECK(work(*chain(500, "MatMul (a, a)")) == std::nullopt);  // deeper than calls are expanded
}

}  // namespace
}  // namespace onnxtool
