// Makes one FusedConv of a convolution and the addition behind it.
//
//   y = Add(Conv(x, W, b), z)
//     =>
//   y = com.microsoft.FusedConv(x, W, b, z)
//
// An activation behind the addition comes into it by fuse-conv-activation. For files that the
// runtime loads as they are: where it optimizes for itself it takes both nodes into its blocked
// layout, but not a FusedConv of four inputs. Does not fire: the convolution's result is used
// elsewhere; z is not known to have its shape; types other than float, which onnxruntime's CPU
// kernel lacks; a convolution of dequantized values, which runtimes run on integers. Source:
// onnxruntime 1.31, docs/ContribOperators.md; optimizer/conv_add_act_fusion.cc.

#include "libopt/ir/copy.h"
#include "libopt/rewrite/pattern.h"
#include "passes/pass.h"
#include "passes/shapes.h"

namespace onnxtool {
namespace {

struct Match {
  const Node& add;
  const Node& conv;
  const Value& z;
};

MatchOr<Match> match_operand(const Node& add, int i) {
  const Node* conv = add.input(i).producer();
  if (!conv || !conv->is("Conv") || &conv->graph() != &add.graph()) return no_match();
  if (!add.input(i).has_one_use()) return no_match("result of the convolution has another use");
  if (add.opset() < 7) return no_match("opset below 7 broadcasts by attribute");
  const Value& z = add.input(1 - i);
  if (!same_shape(z, add.input(i)))
    return no_match("what is added is not known to have the shape of the convolution's result");
  if (add.input(i).type().dtype != DataType::kFloat) return no_match("type is not float");
  if (reads_dequantized(*conv)) return no_match("layer is one that runs on integers");
  return Match{add, *conv, z};
}

MatchOr<Match> match(const Node& add) {
  if (!add.has_input(0) || !add.has_input(1) || !add.has_output(0)) return no_match();
  MatchOr<Match> first = match_operand(add, 0);
  if (first) return first;
  MatchOr<Match> second = match_operand(add, 1);
  return second || !first.reason() ? second : first;
}

void rewrite(const Match& m, Rewriter& rw) {
  std::vector<Value*> inputs = {&m.conv.input(0), &m.conv.input(1),
                                m.conv.has_input(2) ? &m.conv.input(2) : nullptr,
                                const_cast<Value*>(&m.z)};
  std::vector<Attribute> attributes;
  ValueMap none;
  for (const Attribute& a : m.conv.attributes())
    attributes.push_back(copy_attribute(a, rw.graph(), none));
  Node& fused = rw.add_node("FusedConv", inputs, std::move(attributes), 1, m.add.output(0).name(),
                            "com.microsoft");
  rw.replace_uses(m.add.output(0), fused.output(0));
  rw.remove(m.add);
}

}  // namespace

constinit const PassInfo kFuseConvAdd{
    .name = "fuse-conv-add",
    .summary = "make one FusedConv of a Conv and the addition behind it",
    .roots = {"Add"},
    .level = Level::kAll,
    .exactness = Exactness::kRounding,
    .run = run_rule<match, rewrite>};
}  // namespace onnxtool
