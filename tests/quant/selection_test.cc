// Selections of tensors and of paths between them; what they refuse.

#include "quant/selection.h"

#include <doctest/doctest.h>

#include <set>

#include "libopt/analysis/seam.h"
#include "libopt/ir/model.h"

namespace onnxtool {
namespace {

// x -> a -> {b -> d, c} -> e -> y; f is beside.
std::unique_ptr<Model> diamond() {
  auto model = parse_text(
      "<ir_version: 8, opset_import: [\"\" : 17]> g (float[4] x) => (float[4] y, float[4] f) {\n"
      "a = Relu (x)\n b = Abs (a)\n c = Neg (a)\n d = Exp (b)\n e = Add (d, c)\n y = Sqrt (e)\n f "
      "= Sin (x) }");
  REQUIRE(model.ok());
  return *std::move(model);
}

std::set<std::string> selected(const Model& model, const std::string& text) {
  const auto s = Selection::parse({text});
  REQUIRE(s.ok());
  const Selection copy = *s;  // taken before the paths are known
  const Status checked = s->check(model);
  REQUIRE_MESSAGE(checked.ok(), (checked.ok() ? "" : checked.error().message));
  std::set<std::string> out;
  for (const Node& n : model.graph().nodes())
    if (copy.matches(n)) out.insert(n.output(0).name());
  return out;
}

TEST_CASE("selection: what makes a tensor, and what lies between two") {
  const auto model = diamond();
  using Set = std::set<std::string>;
  CHECK(selected(*model, "tensor:b") == Set{"b"});
  CHECK(selected(*model, "tensor:?") == Set{"a", "b", "c", "d", "e", "f", "y"});
  CHECK(selected(*model, "between:a,e") == Set{"b", "c", "d", "e"});
  CHECK(selected(*model, "between:x,y") == Set{"a", "b", "c", "d", "e", "y"});
  CHECK(selected(*model, "between:b,d") == Set{"d"});
  const auto s = *Selection::parse({"tensor:x", "between:b,e"});
  REQUIRE(s.check(*model, /*means_tensors=*/true).ok());
  CHECK(s.matches(*model->graph().find("x")));
  CHECK(s.matches(*model->graph().find("d")));
  CHECK_FALSE(s.matches(*model->graph().find("c")));
  CHECK_FALSE(Selection::parse({"op:Relu"})->matches(*model->graph().find("a")));
}

TEST_CASE("selection: what tensors and paths refuse") {
  const auto model = diamond();
  const auto refused = [&](const std::string& text) {
    const auto s = Selection::parse({text});
    REQUIRE(s.ok());
    const Status status = s->check(*model);
    REQUIRE_FALSE(status.ok());
    CHECK(status.error().code == ErrorCode::kUsage);
    return status.error().message;
  };
  CHECK(refused("tensor:nothing") == "selector 'tensor:nothing' matches no tensor");
  CHECK(refused("tensor:x") == "selector 'tensor:x' matches no node");  // an input
  CHECK(refused("between:a") == "selector 'between:a' is not of the form between:FROM,TO");
  CHECK(refused("between:a,z") == "selector 'between:a,z': there is no tensor 'z'");
  CHECK(refused("between:q,a") == "selector 'between:q,a': there is no tensor 'q'");
  CHECK(refused("between:e,a") == "selector 'between:e,a': no path leads from 'e' to 'a'");
  CHECK(refused("between:f,y") == "selector 'between:f,y': no path leads from 'f' to 'y'");
}

}  // namespace
}  // namespace onnxtool
