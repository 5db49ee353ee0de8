// Makes the 8-bit codes between a QuantizeLinear and what dequantizes them unsigned.
//
//   q = QuantizeLinear(x, scale, zero_point: s8), y = DequantizeLinear(q, scale', zero_point')
//     =>
//   the same with zero points of u8 that are larger by 128
//
// Every code is larger by 128, so all values stay what they are, those that saturate too. x86
// processors multiply u8 by s8 in one instruction, and s8 by s8 in none. Does not fire: something
// other than DequantizeLinear reads the codes, or the graph gives them out; scales for each channel
// or block; zero points that are not constant. Source: onnxruntime 1.31,
// optimizer/qdq_transformer/qdq_s8_to_u8.cc.

#include <utility>
#include <vector>

#include "libopt/analysis/qdq.h"
#include "libopt/ir/copy.h"
#include "passes/pass.h"

namespace onnxtool {
namespace {

struct Match {
  const Node& quantize;
  std::vector<const Node*> dequantize;
};

// One scale, and a zero point of int8 that may be exchanged.
bool has_signed_codes(const Node& node) {
  return has_one_scale(node) && node.input(2).type().dtype == DataType::kInt8;
}

MatchOr<Match> match(const Node& quantize) {
  if (!quantize.has_output(0) || !has_signed_codes(quantize)) return no_match();
  const Value& codes = quantize.output(0);
  if (codes.is_graph_output()) return no_match("codes are an output of the graph");
  Match m{quantize, {}};
  for (const Use& use : codes.uses()) {
    if (!is_dequantize(*use.user) || &use.user->graph() != &quantize.graph())
      return no_match("something other than DequantizeLinear reads the codes");
    if (!has_signed_codes(*use.user))
      return no_match("a DequantizeLinear has no constant zero point, or several scales");
    m.dequantize.push_back(use.user);
  }
  return m;
}

Value& shifted_zero_point(const Node& node, Rewriter& rw) {
  const Tensor& old = *node.input(2).constant();
  const auto code = static_cast<uint8_t>(old.to_ints()[0] + 128);
  return rw.add_constant(Tensor::from(old.dims(), std::vector<uint8_t>{code}),
                         node.input(2).name());
}

void rewrite(const Match& m, Rewriter& rw) {
  // A node of its own: the old one's result has the type of the old codes.
  std::vector<Attribute> attributes;
  ValueMap none;
  for (const Attribute& a : m.quantize.attributes())
    if (a.name != "output_dtype") attributes.push_back(copy_attribute(a, rw.graph(), none));
  Node& quantize =
      rw.add_node("QuantizeLinear",
                  {&m.quantize.input(0), &m.quantize.input(1), &shifted_zero_point(m.quantize, rw)},
                  std::move(attributes), 1, m.quantize.output(0).name());
  for (const Node* dq : m.dequantize) {
    rw.set_input(*dq, 0, &quantize.output(0));
    rw.set_input(*dq, 2, &shifted_zero_point(*dq, rw));
  }
  rw.remove(m.quantize);
}

}  // namespace

constinit const PassInfo kMakeCodesUnsigned{
    .name = "make-codes-unsigned",
    .summary = "make the signed 8-bit codes of activations unsigned, for x86 processors",
    .roots = {"QuantizeLinear"},
    .level = Level::kAll,
    .exactness = Exactness::kExact,
    .run = run_rule<match, rewrite>};
}  // namespace onnxtool
