#include "quant/quantize.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <unordered_map>

#include "libopt/analysis/seam.h"
#include "passes/deduplicate.h"
#include "quant/equalize.h"
#include "quant/fuse_bias.h"

namespace onnxtool {
namespace {

Error nothing_to_quantize(const Placement& placement, const Graph& graph) {
  // The reasons that keep most nodes in float, so that the user sees what would have to change.
  std::map<std::string, int> counts;
  for (const NodeDecision& d : placement.decisions) {
    const OpHandler* h = find_handler(*d.node);
    if (h && h->role == Role::kCore) ++counts[d.node->op_type() + ": " + d.reason];
  }
  const std::function<void(const Graph&)> count_inside = [&](const Graph& graph) {
    for (const Node& n : graph.nodes()) {
      const OpHandler* h = find_handler(n);
      if (graph.parent() && h && h->role == Role::kCore)
        ++counts[n.op_type() + ": stands in a body of If, Loop or Scan"];
      n.for_each_subgraph(count_inside);
    }
  };
  count_inside(graph);
  std::string list;
  for (const auto& [reason, count] : counts)
    list += (list.empty() ? "" : "; ") + std::to_string(count) + " x " + reason;
  return Error{ErrorCode::kNegative,
               "nothing is worth quantizing: " +
                   (list.empty() ? "the graph has no Conv, Gemm or MatMul" : list),
               {}};
}

// Values behind absorbed activations hold what the activation lets through, whatever was observed.
Range clamped(Range r, const QuantizedTensor& t) {
  return {std::max(r.min, t.low), std::min(r.max, t.high)};
}

// Minmax holds the extremes of the very samples that it is judged on; on others it loses what this
// asks of it.
constexpr double kMinMaxMarginDb = 1;

}  // namespace

Result<Quantizer> Quantizer::create(std::unique_ptr<Model> model, const QuantizeOptions& options) {
  Quantizer q;
  q.model_ = std::move(model);
  q.options_ = options;
  ONNXTOOL_ASSIGN(q.preparation_, prepare_model(*q.model_, q.options_));
  if (q.options_.per_channel && q.options_.no_opset_change &&
      q.model_->opset("") < kPerChannelOpset)
    q.options_.per_channel = false;
  ONNXTOOL_TRY(q.settle_products());
  if (q.placement_.nodes.empty()) return nothing_to_quantize(q.placement_, q.model_->graph());
  return q;
}

// A MatMul becomes a Gemm with its bias only where that runs on integers: in float, runtimes fuse
// the pair with what stands around it, attention and normalizations among that.
Status Quantizer::settle_products() {
  while (true) {
    std::unique_ptr<Model> model = model_->clone();
    const auto products = fuse_matmul_bias(*model, options_, left_alone_);
    // Products of one input flatten it once.
    if (!products.empty()) deduplicate_nodes(model->graph());
    // Rewrites leave new values behind whose types placement and kernels want to know.
    ONNXTOOL_TRY(infer_graph(model->graph()));
    shapes_ = typical_shapes(*model, options_);
    // What does not gain as a Gemm does not as a MatMul: runtimes join the pair again.
    placement_ = place(*model, options_, shapes_, left_alone_);
    std::set<const Node*> integer;
    for (const IntegerNode& n : placement_.nodes) integer.insert(n.node);
    const size_t before = left_alone_.size();
    for (const FusedProduct& p : products)
      if (const Node* n = model->graph().node(p.node); n && !integer.contains(n))
        left_alone_.insert(p.result);
    if (left_alone_.size() > before) continue;
    model_ = std::move(model);
    preparation_.nodes_after = model_->graph().num_nodes();
    return {};
  }
}

Status Quantizer::equalize(const SampleSource& source, const RunOptions& run) {
  if (!options_.equalize || options_.ort_compat || !options_.per_channel) return {};
  ONNXTOOL_ASSIGN(equalized_, onnxtool::equalize(*model_, placement_, source, run));
  return {};
}

Status Quantizer::calibrate(const SampleSource& source, const RunOptions& run,
                            bool for_every_calibrator) {
  const bool minmax_only = !for_every_calibrator && !options_.calibrator.automatic &&
                           options_.calibrator.calibrator == Calibrator::kMinMax;
  ONNXTOOL_ASSIGN(summaries_, collect_summaries(model_->graph(), placement_.watched, source, run,
                                                minmax_only ? Summary::Mode::kMinMax
                                                            : Summary::Mode::kHistogram));
  return {};
}

std::map<std::string, Summary> Quantizer::summaries() const {
  std::map<std::string, Summary> out;
  for (size_t i = 0; i < summaries_.size(); ++i)
    out.emplace(placement_.watched[i]->name(), summaries_[i]);
  return out;
}

Status Quantizer::use_summaries(const std::map<std::string, Summary>& summaries) {
  summaries_.clear();
  for (const Value* v : placement_.watched) {
    const auto it = summaries.find(v->name());
    if (it == summaries.end())
      return Error{ErrorCode::kMismatch, "the range file lacks tensor '" + v->name() + "'",
                   "calibrate again with --save-ranges"};
    summaries_.push_back(it->second);
  }
  return {};
}

Result<TensorParams> Quantizer::params_for(const QuantizedTensor& t,
                                           const std::map<const Value*, const Summary*>& summaries,
                                           Calibrator calibrator) const {
  TensorParams out;
  const Value& owner = *t.range_owner;
  // Where negative values do not occur, a symmetric grid would waste half of its codes; and only
  // with the zero point at qmin does the target fold the activation away.
  out.scheme = scheme_of(options_.activation_type,
                         options_.activation_symmetric && !t.one_sided && !t.unit_range);
  if (const Tensor* constant = owner.constant()) {
    Summary s(Summary::Mode::kMinMax);
    const auto values = constant->values<float>();
    s.add(values);
    if (!s.all_finite())
      return Error{
          ErrorCode::kNotFinite, "constant '" + owner.name() + "' holds NaN or infinities", {}};
    out.range = {std::min(s.min(), 0.0f), std::max(s.max(), 0.0f)};
  } else if (t.unit_range) {
    out.range = {0, 1};
  } else {
    const Summary& s = *summaries.at(&owner);
    auto range = onnxtool::calibrate(calibrator, s, out.scheme, options_.calibrator.options);
    if (!range.ok()) return std::move(range).error().at("tensor '" + owner.name() + "'");
    out.range = *range;
  }
  auto params = compute(out.range, out.scheme);
  if (!params.ok()) return std::move(params).error().at("tensor '" + owner.name() + "'");
  out.params = *params;
  return out;
}

Result<Quantizer::Output> Quantizer::emit_with(Calibrator calibrator) const {
  std::map<const Value*, const Summary*> by_value;
  for (size_t i = 0; i < summaries_.size(); ++i) by_value[placement_.watched[i]] = &summaries_[i];
  std::map<const Value*, QuantizedTensor> owners;
  for (const QuantizedTensor& t : placement_.tensors) owners[t.value] = t;
  std::vector<TensorParams> params;
  Output out;
  out.calibrator = calibrator;
  for (const QuantizedTensor& t : placement_.tensors) {
    // A shared range is the owner's in every respect: its scheme and its bounds.
    QuantizedTensor owner = owners.at(t.range_owner);
    ONNXTOOL_ASSIGN(TensorParams p, params_for(owner, by_value, calibrator));
    if (!owner.unit_range && !owner.range_owner->constant()) {
      p.range = clamped(p.range, owner);
      ONNXTOOL_ASSIGN(p.params, compute(p.range, p.scheme));
    }
    params.push_back(p);
    if (t.value != t.range_owner) continue;
    const auto s = by_value.find(t.value);
    out.tensors.push_back(
        {t.value->name(), p.range, p.params,
         s == by_value.end() ? std::nan("") : expected_sqnr(*s->second, p.range, p.scheme)});
  }
  // The copy's placement has the same order: placing is deterministic.
  out.model = model_->clone();
  const Placement placement = place(*out.model, options_, shapes_, left_alone_);
  ONNXTOOL_CHECK(placement.tensors.size() == params.size() &&
                 placement.nodes.size() == placement_.nodes.size());
  ONNXTOOL_ASSIGN(out.emitted, emit_qdq(*out.model, placement, params, options_));
  for (size_t i = 0; i < placement_.nodes.size(); ++i) {
    const Value& reference = placement_.nodes[i].result();
    const bool quantized = placement_.nodes[i].quantized_output ||
                           placement_.nodes[i].handler->role == Role::kPassThrough;
    const Value* test = quantized && !reference.is_graph_output()
                            ? out.model->graph().find(reference.name() + "_DequantizeLinear_Output")
                            : out.model->graph().find(reference.name());
    if (test) out.layers.push_back({&reference, test});
  }
  out.decisions = placement_.decisions;
  std::unordered_map<const Node*, size_t> emitted_as;
  for (size_t i = 0; i < placement_.nodes.size(); ++i) emitted_as[placement_.nodes[i].node] = i;
  for (NodeDecision& d : out.decisions) {
    const auto i = emitted_as.find(d.node);
    if (i == emitted_as.end()) continue;
    const std::string& name = placement.nodes[i->second].node->output(0).name();
    if (out.emitted.predicted.fused.contains(name)) continue;
    d.integer = false;
    d.kernel = {};
    d.reason = "the target does not fuse it with Q and DQ of these types";
  }
  return out;
}

Result<Quantizer::Output> Quantizer::emit(const SampleSource& source, const RunOptions& run) const {
  if (!options_.calibrator.automatic) return emit_with(options_.calibrator.calibrator);
  Result<Output> best = Error{ErrorCode::kNegative, "no calibrator gave a model", {}};
  std::vector<CalibratorTrial> trials;
  double best_sqnr = -INFINITY;
  RunOptions quiet = run;
  quiet.progress = nullptr;
  const SpreadSamples some(source, affordable_samples(placement_));
  for (const Calibrator c :
       {Calibrator::kMse, Calibrator::kEntropy, Calibrator::kPercentile, Calibrator::kMinMax}) {
    ONNXTOOL_ASSIGN(Output candidate, emit_with(c));
    ONNXTOOL_ASSIGN(const ModelComparison compared,
                    compare_models(model_->graph(), candidate.model->graph(), some, quiet, {}));
    // The output that suffers most decides.
    double worst = INFINITY;
    for (const auto& [name, metrics] : compared.outputs) {
      // A failed or non-finite output is the worst of all, not the best.
      const auto v = metrics.value(Metric::kSqnr);
      worst = v && !std::isnan(*v) && metrics.failures().empty() ? std::min(worst, *v) : -INFINITY;
    }
    trials.push_back({c, worst});
    if (const double margin = c == Calibrator::kMinMax ? kMinMaxMarginDb : 0;
        !best.ok() || worst > best_sqnr + margin) {
      best_sqnr = worst;
      best = std::move(candidate);
    }
  }
  if (best.ok()) best->trials = std::move(trials);
  return best;
}

}  // namespace onnxtool
