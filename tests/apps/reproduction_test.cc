// What `optimize --repro` writes: files that load, and a command that shows the breach again.
#include "apps/reproduction.h"

#include <doctest/doctest.h>

#include "calib/compare/verifier.h"
#include "libopt/analysis/seam.h"
#include "libopt/io/load.h"
#include "tests/apps/command_line.h"

namespace onnxtool {
namespace {

bool swap_operands(const Node& node, Rewriter& rw, const PassContext&) {
  if (node.input(1).name() == "a") return false;
  Value &a = node.input(0), &b = node.input(1);
  rw.set_input(node, 0, &b);
  rw.set_input(node, 1, &a);
  return true;
}
constexpr PassInfo kSwap{.name = "swap", .summary = "", .roots = {"Sub"}, .run = swap_operands};

TEST_CASE("what is written shows the breach again") {
  auto model = parse_text(
      "<ir_version: 8, opset_import: [\"\" : 17]> g (float[N,2] x) => (float[N,2] y) "
      "<float[2] w = {1, 2}> { a = Abs (x)  b = Sub (a, w)  y = Neg (b) }");
  REQUIRE(model.ok());
  REQUIRE(infer_graph((*model)->graph()).ok());
  const PassInfo* passes[] = {&kSwap};
  const auto verifier = make_verifier(**model, quick_verification(1));
  const VerifiedRun run = run_verified(*model, passes, PassContext(), verifier.get());
  REQUIRE(run.breach.has_value());

  const testing::TemporaryDirectory place;
  const std::string directory = (place.path() / "repro").string();
  const auto section = write_reproduction(run, PassContext(), {directory, false, 1});
  REQUIRE_MESSAGE(section.ok(), (section.ok() ? "" : section.error().message));
  for (const char* name : {"original.onnx", "rewritten.onnx"}) {
    const auto part = load_model(directory + "/" + name);
    REQUIRE(part.ok());
    CHECK((*part)->graph().num_nodes() == 1);
    CHECK((*part)->graph().inputs()[0]->name() == "a");
  }
  const std::string readme = testing::read_file(directory + "/README.txt");
  CHECK(readme.starts_with("swap at node #1 (Sub) changes what the model computes: output 'y'"));
  const size_t command = readme.find("  onnxtool ");
  REQUIRE(command != std::string::npos);
  const testing::Finished again = testing::run_command(readme.substr(command), directory);
  CHECK(again.code == 1);
  CHECK_FALSE(testing::read_file(directory + "/found/output_0.pb").empty());

  // A second time only where the user says so.
  CHECK_FALSE(write_reproduction(run, PassContext(), {directory, false, 1}).ok());
  CHECK(write_reproduction(run, PassContext(), {directory, true, 1}).ok());
}

TEST_CASE("a model that differs before any pass has nothing to show") {
  VerifiedRun run;
  run.breach = Breach{};
  const auto section = write_reproduction(run, PassContext(), {"/nowhere/at/all", false, 1});
  REQUIRE(section.ok());
  CHECK(section->notes.size() == 1);
}

}  // namespace
}  // namespace onnxtool
