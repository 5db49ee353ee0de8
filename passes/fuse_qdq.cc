// Makes the integer operators of onnxruntime's CPU provider of what stands between DequantizeLinear
// and QuantizeLinear, as the runtime does itself each time it loads a QDQ model.
//
//   q = QuantizeLinear(Conv(DequantizeLinear(x), DequantizeLinear(w), b))
//     =>
//   q = QLinearConv(x, ..., w, ..., b)
//
// Which operators, in which types, the target's table says (libopt/target); operators that move
// elements move codes. Does not fire: the target has no integer operator, or is slower with it; the
// result between the two is read elsewhere. Numerics: integer products are exact, and rounded once
// where the float form rounds several times, so codes may be one step away.
// Source: onnxruntime's QDQ selectors, as measured (docs/quantize.md).

#include "libopt/analysis/qdq.h"
#include "passes/lower_qoperator.h"
#include "passes/pass.h"

namespace onnxtool {
namespace {

bool is_quantized(const Graph& graph) {
  for (const Node& n : graph.nodes()) {
    bool found = is_dequantize(n);
    n.for_each_subgraph([&](const Graph& sub) { found = found || is_quantized(sub); });
    if (found) return true;
  }
  return false;
}

// All groups of the model at once: they share what stands between them.
void run(Graph& graph, const PassContext&,
         const std::function<bool(const std::string&)>& may_rewrite) {
  if (graph.parent() || !is_quantized(graph)) return;
  lower_to_qoperator(graph.model(), kOrtCpu, may_rewrite);
}

}  // namespace

constinit const PassInfo kFuseQdq{
    .name = "fuse-qdq",
    .summary = "make integer operators of what stands between DequantizeLinear and QuantizeLinear",
    .level = Level::kExtended,
    .exactness = Exactness::kStep,
    .run_graph = run};
}  // namespace onnxtool
