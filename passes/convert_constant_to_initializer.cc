// Turns Constant nodes into initializers of the same name.
//
//   c = Constant <value | value_float(s) | value_int(s) | value_string(s)>
//     =>
//   initializer c
//
// Does not fire: sparse_value (an initializer is dense); c is a graph output; IR older than 4,
// which wants every initializer among the graph inputs. Source: ONNX Constant-1, -11
// (sparse_value), -12 (the other forms).

#include "libopt/ir/constant.h"
#include "passes/pass.h"

namespace onnxtool {
namespace {

struct Match {
  const Node& constant;
  Tensor tensor;
};

MatchOr<Match> match(const Node& constant) {
  if (!constant.is("Constant") || constant.attributes().size() != 1 || !constant.has_output(0))
    return no_match();
  if (constant.output(0).is_graph_output()) return no_match("value is a graph output");
  if (!may_hold_initializers(constant.graph()))
    return no_match("initializers would have to be graph inputs (IR older than 4)");
  if (auto tensor = constant_of(constant)) return Match{constant, *std::move(tensor)};
  return no_match("sparse constant");
}

void rewrite(const Match& m, Rewriter& rw) { rw.make_constant(m.constant.output(0), m.tensor); }

}  // namespace

constinit const PassInfo kConvertConstantToInitializer{
    .name = "convert-constant-to-initializer",
    .summary = "turn Constant nodes into initializers",
    .roots = {"Constant"},
    .level = Level::kBasic,
    .exactness = Exactness::kExact,
    .run = run_rule<match, rewrite>};
}  // namespace onnxtool
