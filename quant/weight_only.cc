#include "quant/weight_only.h"

#include <map>

#include "libopt/analysis/seam.h"
#include "quant/awq.h"
#include "quant/decisions.h"
#include "quant/weight_emit.h"
#include "quant/weight_sites.h"

namespace onnxtool {
namespace {

// Least opsets of DequantizeLinear in blocks and with 4-bit integers, and with float16 scales.
constexpr int kBlockedOpset = 21;
constexpr int kHalfScaleOpset = 19;

bool has_half_weights(const Graph& graph) {
  for (const Value* v : graph.values())
    if (v->constant() && v->constant()->dtype() == DataType::kFloat16) return true;
  return false;
}

int needed_opset(const Model& model, const WeightOnlyOptions& o) {
  if (o.operators) return 0;
  if (o.bits == 4 || o.block > 0) return kBlockedOpset;
  return has_half_weights(model.graph()) ? kHalfScaleOpset : kPerChannelOpset;
}

Error nothing(const WeightSites& found) {
  return nothing_quantized("no weight can be quantized", found.decisions,
                           "the graph has no MatMul, Gemm or Gather with weights",
                           "the model was left as it is");
}

// Outputs of products keep their names, so layers find each other by them.
std::vector<LayerPair> layers_of(const WeightSites& sites, const Model& reference,
                                 const Model& model) {
  std::vector<LayerPair> out;
  for (const NodeDecision& d : sites.decisions) {
    if (!d.integer || &d.node->graph() != &reference.graph()) continue;
    const Value& value = d.node->output(0);
    if (const Value* test = model.graph().find(value.name())) out.push_back({&value, test});
  }
  return out;
}

Status emit_nearest(WeightEmitter& emitter, const std::vector<WeightSite>& sites,
                    const WeightOnlyOptions& options) {
  std::map<const Value*, int64_t> bytes;
  int64_t done = 0, total = 0;
  for (const WeightSite& s : sites) {
    const auto [it, fresh] =
        bytes.emplace(s.weight, static_cast<int64_t>(s.weight->constant()->size_bytes()));
    if (fresh) total += it->second;
  }
  for (const WeightSite& s : sites) {
    const auto counted = bytes.extract(s.weight);
    ONNXTOOL_TRY(emitter.emit(s));
    if (counted.empty()) continue;
    done += counted.mapped();
    if (options.progress) options.progress(done, total);
  }
  return {};
}

Status scale(WeightOnlyModel& plan, const WeightOnlyOptions& options) {
  ONNXTOOL_ASSIGN(const AwqReport report,
                  scale_for_weights(*plan.model, plan.reference->graph(), options));
  ONNXTOOL_TRY(infer_graph(plan.model->graph()));
  std::string note = "channels scaled for the weights of products of " +
                     std::to_string(report.scaled) + (report.scaled == 1 ? " value" : " values");
  if (report.inserted > 0) note += ", " + std::to_string(report.inserted) + " by a Mul";
  plan.notes.push_back(std::move(note));
  return {};
}

Status emit_chosen(WeightEmitter& emitter, const WeightSites& found, const Graph& measured,
                   const WeightOnlyOptions& options) {
  for (const MomentPass& pass : moment_passes(found, measured)) {
    ONNXTOOL_ASSIGN(GptqFactors factors, factors_of(pass, measured, *options.calibration));
    emitter.choose_by(std::move(factors));
    for (const WeightSite& s : pass.sites) ONNXTOOL_TRY(emitter.emit(s));
  }
  return {};
}

}  // namespace

Result<WeightOnlyModel> plan_weight_only(std::unique_ptr<Model> model,
                                         const WeightOnlyOptions& options) {
  WeightOnlyModel plan;
  ONNXTOOL_ASSIGN(plan.preparation,
                  prepare_weights(model, needed_opset(*model, options), options.no_opset_change));
  std::shared_ptr<Model> reference = std::move(model);
  WeightSites found = find_weight_sites(*reference, options);
  if (found.sites.empty()) return nothing(found);
  plan.decisions = std::move(found.decisions);
  plan.reference = std::move(reference);
  return plan;
}

Status quantize_weights_only(WeightOnlyModel& plan, const WeightOnlyOptions& options) {
  plan.model = plan.reference->clone();
  if (options.awq) ONNXTOOL_TRY(scale(plan, options));
  // Moments are those of the float model, which stays as it is while the other one changes.
  const std::unique_ptr<Model> measured = options.gptq ? plan.model->clone() : nullptr;
  const WeightSites found = find_weight_sites(*plan.model, options);
  WeightEmitter emitter(*plan.model, options, found);
  if (measured) {
    ONNXTOOL_TRY(emit_chosen(emitter, found, measured->graph(), options));
  } else {
    ONNXTOOL_TRY(emit_nearest(emitter, found.sites, options));
  }
  ONNXTOOL_TRY(infer_graph(plan.model->graph()));
  plan.weights = emitter.weights();
  for (const QuantizedWeight& w : plan.weights)
    if (w.lost)
      plan.notes.push_back("weight '" + w.name +
                           "' holds values below 1e-35 that no scale can express: zeros now");
  plan.layers = layers_of({{}, plan.decisions}, *plan.reference, *plan.model);
  return {};
}

}  // namespace onnxtool
