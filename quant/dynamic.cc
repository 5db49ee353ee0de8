#include "quant/dynamic.h"

#include <algorithm>

#include "libopt/analysis/seam.h"
#include "quant/decisions.h"
#include "quant/dynamic_emit.h"
#include "quant/dynamic_sites.h"
#include "quant/weight_emit.h"
#include "quant/weight_sites.h"

namespace onnxtool {
namespace {

// Least opset of DynamicQuantizeLinear.
constexpr int kDynamicOpset = 11;

// Tables, as weight-only quantization has them.
WeightOnlyOptions table_options(const DynamicOptions& o) {
  WeightOnlyOptions w;
  w.tables_only = true;
  w.bits = 8;
  w.is_signed = o.is_signed;
  w.symmetric = o.is_signed;
  w.include = o.include;
  w.exclude = o.exclude;
  return w;
}

Error nothing(const std::vector<NodeDecision>& decisions) {
  return nothing_quantized("nothing is worth quantizing", decisions,
                           "the graph has no MatMul, Gemm, LSTM or Gather with weights");
}

}  // namespace

Result<DynamicModel> plan_dynamic(std::unique_ptr<Model> model, const DynamicOptions& options) {
  DynamicModel plan;
  ONNXTOOL_ASSIGN(plan.preparation,
                  prepare_weights(model, kDynamicOpset, options.no_opset_change, /*fold=*/true));
  std::shared_ptr<Model> reference = std::move(model);
  DynamicSites found = find_dynamic_sites(*reference, options);
  WeightSites tables = find_weight_sites(*reference, table_options(options));
  plan.decisions = std::move(found.decisions);
  plan.decisions.insert(plan.decisions.end(), tables.decisions.begin(), tables.decisions.end());
  if (found.nodes.empty() && tables.sites.empty()) return nothing(plan.decisions);
  const auto convs =
      std::ranges::count_if(found.nodes, [](const Node* n) { return n->is("Conv"); });
  if (convs)
    plan.notes.push_back(std::to_string(convs) +
                         " Conv run slower on integers (ConvInteger of onnxruntime's CPU provider: "
                         "some 4 times); static quantization makes them faster");
  plan.reference = std::move(reference);
  return plan;
}

Status quantize_dynamically(DynamicModel& plan, const DynamicOptions& options) {
  plan.model = plan.reference->clone();
  Model& model = *plan.model;
  DynamicEmitter emitter(model, options);
  for (Node* node : find_dynamic_sites(model, options).nodes) ONNXTOOL_TRY(emitter.emit(*node));
  if (emitter.pairs().layers > 0) plan.notes.push_back(emitter.pairs().text());
  const WeightOnlyOptions w = table_options(options);
  const WeightSites tables = find_weight_sites(model, w);
  WeightEmitter table_emitter(model, w, tables);
  for (const WeightSite& s : tables.sites) ONNXTOOL_TRY(table_emitter.emit(s));
  ONNXTOOL_TRY(infer_graph(model.graph()));
  for (const NodeDecision& d : plan.decisions) {
    if (!d.integer || &d.node->graph() != &plan.reference->graph() || !d.node->has_output(0))
      continue;
    const Value& value = d.node->output(0);
    if (const Value* test = model.graph().find(value.name())) plan.layers.push_back({&value, test});
  }
  // Layers are compared in the order of the graph.
  std::map<const Node*, int> order;
  for (const Node& n : plan.reference->graph().nodes())
    order.emplace(&n, static_cast<int>(order.size()));
  std::ranges::stable_sort(plan.layers, {},
                           [&](const LayerPair& p) { return order.at(p.reference->producer()); });
  return {};
}

}  // namespace onnxtool
