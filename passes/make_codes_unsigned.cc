// Makes the signed 8-bit codes of a graph's activations unsigned, all of them or none.
//
//   q = QuantizeLinear(x, scale, zero_point: s8), y = DequantizeLinear(q, scale', zero_point')
//     =>
//   the same with zero points of u8 that are larger by 128
//
// Every code is larger by 128, so all values stay what they are, those that saturate too. Constants
// that are added, multiplied or joined go with them, weights of layers stay. x86 processors
// multiply u8 by s8 in one instruction, and s8 by s8 in none. Does not fire: codes that the graph
// takes in or gives out, or that something other than DequantizeLinear reads; scales for each
// channel or block; zero points that are absent or not constant. One such value keeps all as they
// are, since integer kernels want one type on all sides. Source: onnxruntime 1.31,
// optimizer/qdq_transformer/qdq_s8_to_u8.cc.

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "libopt/analysis/qdq.h"
#include "libopt/ir/copy.h"
#include "passes/pass.h"

namespace onnxtool {
namespace {

struct Signed {
  std::vector<const Node*> quantize;   // each is read by DequantizeLinear nodes only
  std::vector<const Node*> constants;  // DequantizeLinear of constant codes
};

// One scale, and a zero point of int8 that may be exchanged.
bool has_signed_codes(const Node& node) {
  return has_one_scale(node) && node.input(2).type().dtype == DataType::kInt8;
}

bool may_shift(const Node& quantize) {
  return has_signed_codes(quantize) && !quantize.output(0).is_graph_output() &&
         std::ranges::all_of(quantize.output(0).uses(), [&](const Use& use) {
           return is_dequantize(*use.user) && &use.user->graph() == &quantize.graph() &&
                  has_signed_codes(*use.user);
         });
}

bool is_operand(const Node& dequantize) {
  return has_signed_codes(dequantize) &&
         std::ranges::all_of(dequantize.output(0).uses(), [](const Use& use) {
           return use.user->is("Add") || use.user->is("Mul") || use.user->is("Concat");
         });
}

bool is_signed(const Value& codes) { return codes.type().dtype == DataType::kInt8; }

std::optional<Signed> find(const Graph& graph) {
  Signed found;
  for (const Node& n : graph.nodes()) {
    if (is_quantize(n) && n.has_output(0) && is_signed(n.output(0)) && !n.input(0).constant()) {
      if (!may_shift(n)) return std::nullopt;
      found.quantize.push_back(&n);
    }
    if (!is_dequantize(n) || !n.has_output(0) || !is_signed(n.input(0))) continue;
    if (n.input(0).constant()) {
      if (is_operand(n)) found.constants.push_back(&n);
    } else if (!n.input(0).producer() || !is_quantize(*n.input(0).producer())) {
      return std::nullopt;
    }
  }
  return found;
}

Value& shifted(const Value& codes, Rewriter& rw) {
  const Tensor& old = *codes.constant();
  std::vector<uint8_t> out;
  for (const int64_t code : old.to_ints()) out.push_back(static_cast<uint8_t>(code + 128));
  return rw.add_constant(Tensor::from(old.dims(), out), codes.name());
}

// A node of its own: the old one's result has the type of the old codes.
void shift(const Node& old, Rewriter& rw) {
  std::vector<Attribute> attributes;
  ValueMap none;
  for (const Attribute& a : old.attributes())
    if (a.name != "output_dtype") attributes.push_back(copy_attribute(a, rw.graph(), none));
  Node& quantize =
      rw.add_node("QuantizeLinear", {&old.input(0), &old.input(1), &shifted(old.input(2), rw)},
                  std::move(attributes), 1, old.output(0).name());
  for (const Use& use : std::vector<Use>(old.output(0).uses())) {
    rw.set_input(*use.user, 0, &quantize.output(0));
    rw.set_input(*use.user, 2, &shifted(use.user->input(2), rw));
  }
  rw.remove(old);
}

void run_graph(Graph& graph, const PassContext&,
               const std::function<bool(const std::string&)>& may_rewrite) {
  const std::optional<Signed> found = find(graph);
  if (!found || found->quantize.empty()) return;
  for (const Node* n : found->constants) {
    if (!may_rewrite("constant '" + n->input(0).name() + "'")) return;
    Rewriter rw(graph, n);
    rw.set_input(*n, 0, &shifted(n->input(0), rw));
    rw.set_input(*n, 2, &shifted(n->input(2), rw));
    rw.sweep();
  }
  for (const Node* n : found->quantize) {
    if (!may_rewrite("codes '" + n->output(0).name() + "'")) return;
    Rewriter rw(graph, n);
    shift(*n, rw);
    rw.sweep();
  }
}

}  // namespace

constinit const PassInfo kMakeCodesUnsigned{
    .name = "make-codes-unsigned",
    .summary = "make the signed 8-bit codes of activations unsigned, for x86 processors",
    .level = Level::kExtended,
    .exactness = Exactness::kExact,
    .run_graph = run_graph};
}  // namespace onnxtool
