#include "quant/quantize.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <unordered_map>

#include "libopt/analysis/seam.h"
#include "passes/deduplicate.h"
#include "quant/decisions.h"
#include "quant/equalize.h"
#include "quant/fuse_bias.h"
#include "quant/hoist_activations.h"
#include "quant/pool_scales.h"
#include "quant/smooth.h"
#include "quant/softmax_scales.h"
#include "quant/tables.h"
#include "quant/tied_codes.h"

namespace onnxtool {
namespace {

Error nothing_to_quantize(const Placement& placement, const Graph& graph) {
  // The reasons that keep most nodes in float, so that the user sees what would have to change.
  std::map<std::string, int> counts;
  bool weighed = false;
  for (const NodeDecision& d : placement.decisions) {
    const OpHandler* h = find_handler(*d.node);
    if (!h || h->role != Role::kCore) continue;
    ++counts[d.node->op_type() + ": " + d.reason];
    weighed |= std::string_view(d.reason) == kNoGain;
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
  return Error{
      ErrorCode::kNegative,
      "nothing is worth quantizing: " + counted(counts, "the graph has no Conv, Gemm or MatMul"),
      weighed ? "nothing was written: the float model is the better one; layers that --include "
                "names are quantized whatever they gain"
              : ""};
}

// Whose values it has, where a file lacks it: it was made with other types, which fuse elsewhere,
// or knows what an activation gave where that stood before preparation.
template <class T>
const std::string& range_source(const Value& v, const std::map<std::string, T>& known) {
  const Value* from = &v;
  while (!known.contains(from->name()) && from->producer() && from->producer()->has_input(0) &&
         moves_elements(*from->producer()))
    from = &from->producer()->input(0);
  if (known.contains(from->name())) return from->name();
  const Value* to = &v;
  while (!known.contains(to->name()) && to->has_one_use() && to->uses()[0].index == 0 &&
         activations_pass(*to->uses()[0].user))
    to = &to->uses()[0].user->output(0);
  return to->name();
}

std::string unfused_note(int count, const QuantizeOptions& options) {
  const DataType usual = options.target->data_types[0];
  const bool other =
      options.activation_type != usual || !options.overrides.activation_types().empty();
  return std::to_string(count) +
         (count == 1 ? " operator stands between Q and DQ that the target does not fuse, and is"
                     : " operators stand between Q and DQ that the target does not fuse, and are") +
         " slower than in the float model" +
         (other ? ": " + std::string(name(usual)) + " activations fuse" : "");
}

// Values behind absorbed activations hold what the activation lets through, whatever was observed.
Range clamped(Range r, const QuantizedTensor& t) {
  return {std::max(r.min, t.low), std::min(r.max, t.high)};
}

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
  ONNXTOOL_TRY(q.pack_tables());
  ONNXTOOL_TRY(q.drop_unfused());
  if (q.placement_.nodes.empty()) return nothing_to_quantize(q.placement_, q.model_->graph());
  return q;
}

// A MatMul becomes a Gemm with its bias only where that runs on integers: in float, runtimes fuse
// the pair with what stands around it, attention and normalizations among that.
Status Quantizer::settle_products() {
  while (true) {
    std::unique_ptr<Model> model = model_->clone();
    std::vector<FusedProduct> products;
    if (!options_.ort_compat) products = fuse_matmul_bias(*model, options_, weighing_.in_float);
    // Products of one input flatten it once.
    if (!products.empty()) deduplicate_nodes(model->graph());
    // Rewrites leave new values behind whose types placement and kernels want to know.
    ONNXTOOL_TRY(infer_graph(model->graph()));
    weighing_.shapes = typical_shapes(*model, options_);
    weighing_.reshaped.clear();
    weighing_.selected.clear();
    for (const FusedProduct& p : products) {
      weighing_.reshaped.insert(p.reshaped.begin(), p.reshaped.end());
      weighing_.selected.insert(p.fused_result);
    }
    // What does not gain as a Gemm does not as a MatMul: runtimes join the pair again.
    placement_ = place(*model, options_, weighing_);
    const std::set<const Node*> integer = placement_.integer_nodes();
    const size_t before = weighing_.in_float.size();
    for (const FusedProduct& p : products)
      if (const Node* n = model->graph().node(p.node); n && !integer.contains(n))
        weighing_.in_float.insert(p.result);
    if (weighing_.in_float.size() > before) continue;
    model_ = std::move(model);
    preparation_.nodes_after = model_->graph().num_nodes();
    return {};
  }
}

// Tables whose rows float operators read, where anything is quantized at all.
Status Quantizer::pack_tables() {
  if (options_.ort_compat || placement_.nodes.empty()) return {};
  // Their compilers take integer constants in front of DequantizeLinear only.
  if (options_.target == &kTensorRt || options_.target == &kQnn) return {};
  ONNXTOOL_ASSIGN(const PackedTables packed,
                  onnxtool::pack_tables(*model_, options_, placement_.integer_nodes()));
  if (packed.count == 0) return {};
  preparation_.notes.push_back(
      (packed.count == 1 ? "a table" : std::to_string(packed.count) + " tables") +
      " of Gather in 8 bits, with a scale for each row: " + std::to_string(packed.saved_bytes) +
      " bytes less");
  ONNXTOOL_TRY(infer_graph(model_->graph()));
  weighing_.shapes = typical_shapes(*model_, options_);
  placement_ = place(*model_, options_, weighing_);
  preparation_.nodes_after = model_->graph().num_nodes();
  return {};
}

// Codes of a type that is not the target's usual one fuse in some places only: elsewhere Q and DQ
// would cost time. What --include names, and onnxruntime's own placement, stays.
Status Quantizer::drop_unfused() {
  if (!options_.target->is_onnxruntime || options_.ort_compat || !options_.include.empty() ||
      options_.activation_type == options_.target->data_types[0])
    return {};
  // Ranges that are kept serve runs with other types.
  for (const Value* v : placement_.watched) fusing_elsewhere_.insert(v->name());
  while (!placement_.nodes.empty()) {
    // What fuses goes by types, and hardly by ranges, which nobody knows yet.
    for (const QuantizedTensor& t : placement_.tensors) given_[t.value->name()] = {-1, 1};
    const Result<Output> tried = emit_with(Calibrator::kMinMax);
    given_.clear();
    if (!tried.ok()) return {};  // the same will be said of the real one
    const size_t before = weighing_.unfused.size();
    for (const NodeDecision& d : tried->decisions)
      if (std::string_view(d.reason) == kNotFused && d.node->has_output(0))
        weighing_.unfused.insert(d.node->output(0).name());
    if (weighing_.unfused.size() == before) return {};
    placement_ = place(*model_, options_, weighing_);
  }
  return {};
}

Status Quantizer::equalize(const SampleSource& source, const RunOptions& run) {
  if (!options_.equalize || options_.ort_compat) return {};
  EqualizeOptions how{.per_channel = options_.per_channel};
  if (options_.equalize_small_gains) how.least_gain = 1;
  ONNXTOOL_ASSIGN(equalized_, onnxtool::equalize(*model_, placement_, source, run, how));
  return {};
}

Status Quantizer::smooth(const SampleSource& source, const RunOptions& run) {
  if (!options_.smooth) return {};
  ONNXTOOL_ASSIGN(smoothed_,
                  onnxtool::smooth(*model_, placement_, options_.smooth->strength, source, run));
  return {};
}

// Values whose counts are needed, or may be, where `everything` is set. A layer that goes
// back to float later leaves the tensors behind it with ranges of their own.
std::vector<const Value*> Quantizer::observed(bool everything) const {
  if (!everything && !options_.may_leave_in_float && !options_.overrides.leaves_in_float())
    return placement_.watched;
  std::vector<const Value*> all;
  std::set<const Value*> seen;
  const auto take = [&](const Placement& placement) {
    for (const QuantizedTensor& t : placement.tensors)
      if (!t.value->constant() && !t.unit_range && seen.insert(t.value).second)
        all.push_back(t.value);
  };
  take(placement_);
  if (!everything) return all;
  // What other selections, types and targets of accuracy place: nothing is weighed there.
  Target unweighed = *options_.target;
  unweighed.cost = nullptr;
  QuantizeOptions any = options_;
  any.target = &unweighed;
  any.include = any.exclude = {};
  any.overrides = {};
  any.in_float.clear();
  Weighing shapes = weighing_;
  shapes.in_float.clear();
  shapes.unfused.clear();
  take(place(*model_, any, shapes));
  return all;
}

Status Quantizer::calibrate(const SampleSource& source, const RunOptions& run,
                            bool for_every_calibrator) {
  const CalibratorChoice& c = options_.calibrator;
  const bool kept = for_every_calibrator;
  for_every_calibrator |= !options_.overrides.empty() || options_.may_leave_in_float;
  const bool only_minmax = !c.automatic && (c.calibrator == Calibrator::kMinMax ||
                                            c.calibrator == Calibrator::kMovingAverage);
  const bool averages = !c.automatic && c.calibrator == Calibrator::kMovingAverage;
  const auto mode =
      only_minmax && !for_every_calibrator ? Summary::Mode::kMinMax : Summary::Mode::kHistogram;
  std::vector<std::vector<Extremes>> extremes;
  std::vector<const Value*> watched = observed(kept);
  const auto collect = [&] {
    return collect_summaries(model_->graph(), watched, source, run, mode,
                             averages || for_every_calibrator ? &extremes : nullptr);
  };
  auto collected = collect();
  if (!collected.ok() && kept && collected.error().code == ErrorCode::kNotFinite) {
    // What only other runs would quantize may be infinite: then the file has what this one does.
    watched = observed();
    extremes.clear();
    collected = collect();
  }
  ONNXTOOL_ASSIGN(auto summaries, std::move(collected));
  for (size_t i = 0; i < summaries.size(); ++i) {
    const std::string& name = watched[i]->name();
    if (!extremes.empty()) extremes_[name] = std::move(extremes[i]);
    summaries_.emplace(name, std::move(summaries[i]));
  }
  return {};
}

Status Quantizer::use_summaries(std::map<std::string, Summary> summaries,
                                std::map<std::string, std::vector<Extremes>> extremes) {
  for (const Value* v : observed()) {
    const std::string& source = range_source(*v, summaries);
    if (!summaries.contains(source))
      return Error{ErrorCode::kMismatch, "the range file lacks tensor '" + v->name() + "'",
                   "calibrate again with --save-ranges and the flags of this run: an accuracy "
                   "target and layers in float need more tensors"};
    if (source == v->name()) continue;
    summaries.emplace(v->name(), summaries.at(source));
    if (const auto e = extremes.find(source); e != extremes.end())
      extremes.emplace(v->name(), std::vector<Extremes>(e->second));
  }
  summaries_ = std::move(summaries);
  extremes_ = std::move(extremes);
  return {};
}

Status Quantizer::use_ranges(std::map<std::string, Range> ranges) {
  std::vector<std::string> missing;
  const std::vector<const Value*> watched = observed();
  for (const Value* v : watched) {
    const auto source = ranges.find(range_source(*v, ranges));
    if (source == ranges.end())
      missing.push_back(v->name());
    else
      ranges.emplace(v->name(), Range(source->second));
  }
  if (!missing.empty())
    return Error{ErrorCode::kMismatch,
                 "the range file lacks tensor '" + missing[0] + "'" +
                     (missing.size() > 1 ? " and " + std::to_string(missing.size() - 1) +
                                               " more of " + std::to_string(watched.size())
                                         : ""),
                 "it was made from another model, or for another placement: ranges of "
                 "onnxruntime's go with --preset ort-compat and the model that it prepared"};
  given_ = std::move(ranges);
  return {};
}

// What is said of the tensor, of the node that makes it, or of the layer whose activation that is.
OverrideValues Quantizer::wished(const Value& owner) const {
  if (options_.overrides.empty()) return {};
  const Node* maker = owner.producer();
  if (!maker) return options_.overrides.of(owner);
  const Node* layer = is_activation(*maker) ? maker->input(0).producer() : nullptr;
  return options_.overrides.of(*maker, layer);
}

Result<Range> Quantizer::range_of_activation(const Value& owner, const QuantScheme& scheme,
                                             Calibrator calibrator) const {
  const OverrideValues wish = wished(owner);
  if (wish.range) return *wish.range;
  if (const auto given = given_.find(owner.name()); given != given_.end()) return given->second;
  const auto extremes = extremes_.find(owner.name());
  const std::span<const Extremes> samples =
      extremes == extremes_.end() ? std::span<const Extremes>() : extremes->second;
  const auto summary = summaries_.find(owner.name());
  if (summary == summaries_.end())
    return Error{ErrorCode::kMismatch, "no values of it were counted",
                 "calibrate again with the flags of this run"};
  CalibratorOptions options = options_.calibrator.options;
  options.percentile = wish.percentile.value_or(options.percentile);
  return onnxtool::calibrate(wish.calibrator.value_or(calibrator), summary->second, scheme, options,
                             samples);
}

Result<TensorParams> Quantizer::params_for(const QuantizedTensor& t, Calibrator calibrator) const {
  TensorParams out;
  const Value& owner = *t.range_owner;
  // Where negative values do not occur, a symmetric grid would waste half of its codes; and only
  // with the zero point at qmin does the target fold the activation away. onnxruntime's quantizer
  // has its way with Softmax in QDQ form, too.
  const bool one_sided = t.one_sided || (t.unit_range && options_.form == Form::kQOperator);
  out.type = wished(owner).activation_type.value_or(options_.activation_type);
  out.scheme = scheme_of(
      out.type,
      options_.target->symmetric_data ||
          (wished(owner).symmetric.value_or(options_.activation_symmetric) && !one_sided));
  if (const Tensor* constant = owner.constant()) {
    Summary s(Summary::Mode::kMinMax);
    const auto values = constant->values<float>();
    s.add(values);
    if (!s.all_finite())
      return Error{
          ErrorCode::kNotFinite, "constant '" + owner.name() + "' holds NaN or infinities", {}};
    out.range = {std::min(s.min(), 0.0f), std::max(s.max(), 0.0f)};
  } else if (t.unit_range) {
    // onnxruntime's quantizer: a scale of 1/256 for QLinearSoftmax, 1/255 for QDQ.
    out.range = {0, options_.form == Form::kQOperator ? 255.0f / 256 : 1.0f};
  } else {
    auto range = range_of_activation(owner, out.scheme, calibrator);
    if (!range.ok()) return std::move(range).error().at("tensor '" + owner.name() + "'");
    out.range = *range;
  }
  auto params = compute(out.range, out.scheme);
  if (!params.ok()) return std::move(params).error().at("tensor '" + owner.name() + "'");
  out.params = *params;
  return out;
}

Result<Quantizer::Output> Quantizer::emit_with(Calibrator calibrator) const {
  std::map<const Value*, QuantizedTensor> owners;
  for (const QuantizedTensor& t : placement_.tensors) owners[t.value] = t;
  std::vector<TensorParams> params;
  Output out;
  out.calibrator = calibrator;
  for (const QuantizedTensor& t : placement_.tensors) {
    // A shared range is the owner's in every respect: its scheme and its bounds.
    QuantizedTensor owner = owners.at(t.range_owner);
    ONNXTOOL_ASSIGN(TensorParams p, params_for(owner, calibrator));
    if (!owner.unit_range && !owner.range_owner->constant()) {
      p.range = clamped(p.range, owner);
      ONNXTOOL_ASSIGN(p.params, compute(p.range, p.scheme));
      // The range says nothing of a value that was zero on all samples.
      if (owner.one_sided && p.range.min == 0 && !p.scheme.symmetric && !options_.ort_compat)
        p.params.zero_point = p.scheme.qmin;
    }
    params.push_back(p);
  }
  std::vector<std::string> notes = bound_pool_scales(model_->graph(), placement_, params);
  if (!options_.ort_compat && !options_.target->symmetric_data)
    round_softmax_scales(model_->graph(), placement_, params);
  for (size_t i = 0; i < params.size(); ++i) {
    const QuantizedTensor& t = placement_.tensors[i];
    const TensorParams& p = params[i];
    if (!t.value->constant()) out.ranges[t.value->name()] = p.range;
    if (t.value != t.range_owner) continue;
    const auto s = summaries_.find(t.value->name());
    if (s != summaries_.end() && t.value->is_graph_input() && s->second.min() == s->second.max())
      notes.push_back(
          fmt::format("input '{}' is {:g} throughout all samples: its range fits no other data",
                      t.value->name(), s->second.min()));
    out.tensors.push_back(
        {t.value->name(), p.range, p.params,
         s == summaries_.end() ? std::nan("") : expected_sqnr(s->second, p.range, p.scheme)});
  }
  // Other tools want one for the value before an absorbed activation, too, and give it the same.
  for (const IntegerNode& n : placement_.nodes)
    if (const auto r = out.ranges.find(n.result().name()); n.activation && r != out.ranges.end())
      out.ranges.emplace(n.node->output(0).name(), r->second);
  // Files of ranges serve runs with the target's usual type as well.
  for (const std::string& name : fusing_elsewhere_) {
    const Value* v = model_->graph().find(name);
    if (!v || !summaries_.contains(name) || out.ranges.contains(name)) continue;
    const bool symmetric = options_.target->symmetric_data || options_.activation_symmetric;
    ONNXTOOL_ASSIGN(
        out.ranges[name],
        range_of_activation(*v, scheme_of(options_.activation_type, symmetric), calibrator));
  }
  // The copy's placement has the same order: placing is deterministic.
  out.model = model_->clone();
  apply_bias_corrections(*out.model, corrections_);
  const Placement placement = place(*out.model, options_, weighing_);
  ONNXTOOL_CHECK(placement.tensors.size() == params.size() &&
                 placement.nodes.size() == placement_.nodes.size());
  restore_sums(out.model->graph(), preparation_.sums, placement.integer_nodes());
  ONNXTOOL_ASSIGN(out.emitted, emit_qdq(*out.model, placement, params, options_));
  out.emitted.notes.insert(out.emitted.notes.end(), notes.begin(), notes.end());
  apply_roundings(*out.model, rounded_);
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
  int unfused = 0;
  for (NodeDecision& d : out.decisions) {
    const auto i = emitted_as.find(d.node);
    if (!d.integer && d.node->has_output(0) &&
        out.emitted.predicted.fused.contains(d.node->output(0).name()))
      d.reason =
          "the target runs it on integers all the same, as all that stands between integer ones";
    if (i == emitted_as.end() || !options_.target->is_onnxruntime) continue;
    const std::string& name = placement.nodes[i->second].node->output(0).name();
    if (out.emitted.predicted.fused.contains(name)) continue;
    d.integer = false;
    d.kernel = {};
    d.reason = kNotFused;
    ++unfused;
  }
  if (unfused > 0 && !options_.ort_compat)
    out.emitted.notes.push_back(unfused_note(unfused, options_));
  return out;
}

void Quantizer::share_tied(Output& out) const {
  // Codes that were chosen one by one, or by the sums of pairs, are no table's.
  if (!options_.target->is_onnxruntime || options_.ort_compat || options_.target->adds_pairs ||
      options_.form != Form::kQdq || !rounded_.empty())
    return;
  if (share_tied_codes(out.model->graph()) > 0)
    out.emitted.predicted = fuse_qdq(*out.model, *options_.target);
}

// What was in float before stays there, for its own reason: nothing is weighed again.
void Quantizer::leave_in_float(const std::set<std::string>& results) {
  if (weighed_.empty()) weighed_ = placement_.decisions;
  std::map<const Node*, const char*> reasons;
  options_.in_float = results;
  for (const NodeDecision& d : weighed_) {
    if (d.integer || !d.node->has_output(0)) continue;
    reasons[d.node] = d.reason;
    options_.in_float.insert(d.node->output(0).name());
  }
  placement_ = place(*model_, options_, weighing_);
  for (NodeDecision& d : placement_.decisions)
    if (const auto r = reasons.find(d.node); r != reasons.end()) d.reason = r->second;
}

Result<Quantizer::Output> Quantizer::emit_in_float(const std::set<std::string>& results,
                                                   Calibrator calibrator) {
  std::set<std::string> all = wished_in_float_;
  all.insert(results.begin(), results.end());
  leave_in_float(all);
  return emit_with(calibrator);
}

Result<Quantizer::Output> Quantizer::emit_with(Overrides overrides, Calibrator calibrator) {
  options_.overrides = std::move(overrides);
  options_.calibrator.automatic = false;
  options_.calibrator.calibrator = calibrator;
  return emit(nullptr, {});
}

Result<Quantizer::Output> Quantizer::emit(const SampleSource* source, const RunOptions& run) {
  if (options_.overrides.leaves_in_float()) {
    for (const IntegerNode& n : placement_.nodes)
      if (options_.overrides.of(*n.node).in_float || options_.overrides.of(n.result()).in_float)
        wished_in_float_.insert(n.node->output(0).name());
    leave_in_float(wished_in_float_);
    if (placement_.nodes.empty()) return nothing_to_quantize(placement_, model_->graph());
  }
  if (has_given_ranges()) return emit_with(Calibrator::kMinMax);
  if (!options_.calibrator.automatic) return emit_with(options_.calibrator.calibrator);
  return best_of_all(*source, run);
}

}  // namespace onnxtool
