#include "quant/bias_correction.h"

#include <algorithm>
#include <cmath>

#include "calib/compare/channel_errors.h"
#include "libopt/rewrite/rewriter.h"
#include "quant/ops/handler.h"

namespace onnxtool {
namespace {

bool takes_bias(const IntegerNode& n) {
  const int input = n.handler->bias_input;
  if (input < 0 || n.handler->role != Role::kCore) return false;
  // Of a Gemm the scales of its parts would have to be divided out.
  if (n.node->is("Gemm") && n.node->attr<float>("beta", 1) != 1) return false;
  if (!n.node->has_input(input)) return true;
  const Tensor* bias = n.node->input(input).constant();
  return bias && bias->dtype() == DataType::kFloat && bias->rank() <= 1;
}

}  // namespace

Result<BiasCorrections> measure_bias_corrections(const Placement& placement, const Graph& reference,
                                                 const Graph& test, const SampleSource& source,
                                                 const RunOptions& run) {
  std::vector<LayerPair> pairs;
  for (const IntegerNode& n : placement.nodes) {
    if (!takes_bias(n)) continue;
    const Value& result = n.node->output(0);
    if (const Value* v = test.find(result.name())) pairs.push_back({&result, v});
  }
  BiasCorrections out;
  if (pairs.empty()) return out;
  ONNXTOOL_ASSIGN(const auto errors, channel_errors(reference, test, pairs, source, run));
  for (size_t i = 0; i < pairs.size(); ++i) {
    std::vector<float> added;
    for (const double e : errors[i]) added.push_back(static_cast<float>(-e));
    if (!added.empty() && std::ranges::all_of(added, [](float x) { return std::isfinite(x); }))
      out.emplace(pairs[i].reference->name(), std::move(added));
  }
  return out;
}

void apply_bias_corrections(Model& model, const BiasCorrections& corrections) {
  Graph& graph = model.graph();
  for (const auto& [name, added] : corrections) {
    Value* result = graph.find(name);
    Node* node = result ? result->producer() : nullptr;
    const OpHandler* handler = node ? find_handler(*node) : nullptr;
    if (!handler || handler->bias_input < 0) continue;
    const int input = handler->bias_input;
    std::vector<float> bias(added.size(), 0);
    if (node->has_input(input)) {
      bias = node->input(input).constant()->values<float>();
      if (bias.size() == 1) bias.assign(added.size(), bias[0]);
    }
    if (bias.size() != added.size()) continue;
    for (size_t c = 0; c < bias.size(); ++c) bias[c] += added[c];
    const std::string base =
        node->has_input(input) ? node->input(input).name() : result->name() + "_bias";
    Rewriter rw(graph, node);
    Value& corrected = rw.add_constant(Tensor::vector(bias), base + "_corrected");
    rw.set_input(*node, input, &corrected);
  }
}

}  // namespace onnxtool
