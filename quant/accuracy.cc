#include "quant/accuracy.h"

#include <set>

#include "quant/accuracy_layers.h"
#include "quant/accuracy_rungs.h"

namespace onnxtool {
namespace {

// On all samples; where few misled, more layers go while the budget lasts. `looked_at_all`: `out`
// itself was measured on all samples.
Status leave_in_float(LayerSearch& search, const ChangedLayers& without, Quantizer::Output& out,
                      bool looked_at_all, AccuracySearch& result, AccuracyMeter& meter) {
  if (search.chosen().empty()) return {};
  while (true) {
    ONNXTOOL_ASSIGN(Quantizer::Output candidate, without(search.chosen()));
    if (!is_quantized(candidate)) return {};
    ONNXTOOL_ASSIGN(const double value,
                    meter.measure(candidate, meter.all(), std::ssize(search.chosen())));
    result.met = result.target.met(value);
    if (result.met || result.target.better(value, result.after)) {
      result.after = value;
      result.in_float = search.chosen();
    }
    if (result.met && !looked_at_all && meter.affords(meter.runs_for(meter.all()))) {
      // The budget was not to be spent on this before: maybe no layer had to go.
      ONNXTOOL_ASSIGN(const double as_it_was, meter.measure(out, meter.all()));
      if (result.target.met(as_it_was)) {
        result.after = as_it_was;
        result.in_float.clear();
        return {};
      }
    }
    if (result.met) {
      candidate.trials = std::move(out.trials);
      out = std::move(candidate);
      return {};
    }
    if (!search.choose_more(value)) return {};
    if (!meter.affords(meter.runs_for(meter.all()))) {
      result.cut_off = true;
      return {};
    }
  }
}

Status search(Quantizer& quantizer, Quantizer::Output& out, AccuracySearch& result,
              AccuracyMeter& meter) {
  ONNXTOOL_ASSIGN(result.before, meter.measure(out, meter.all()));
  result.after = result.before;
  result.met = result.target.met(result.before);
  if (result.met) return {};
  AccuracyRungs rungs(quantizer, out, result.before, meter);
  ONNXTOOL_TRY(rungs.climb());
  result.met = rungs.met();
  if (result.met) ONNXTOOL_TRY(rungs.take_back());
  if (rungs.measured()) result.after = rungs.value();
  result.rungs = rungs.take_rungs();
  if (result.met) return {};
  if (instrumented_samples(meter) < 1) {
    result.cut_off = true;
    return {};
  }
  ONNXTOOL_ASSIGN(const RankedLayers ranked, rank_layers(quantizer, out, meter));
  const ChangedLayers without = [&](const std::vector<RankedLayer>& layers) {
    std::set<std::string> results;
    for (const RankedLayer& l : layers) results.insert(l.result);
    return quantizer.emit_in_float(results, out.calibrator);
  };
  LayerSearch layers(ranked.layers, ranked.most_in_float, without,
                     {out, rungs.value(), rungs.samples(), /*in_float=*/true}, meter);
  ONNXTOOL_TRY(layers.find());
  result.cut_off = layers.cut_off();
  return leave_in_float(layers, without, out, rungs.measured(), result, meter);
}

}  // namespace

Result<AccuracySearch> reach_accuracy(Quantizer& quantizer, Quantizer::Output& out,
                                      const AccuracyTarget& target, const AccuracyData& data) {
  AccuracyMeter meter(out, target, data);
  AccuracySearch result;
  result.target = target;
  ONNXTOOL_TRY(search(quantizer, out, result, meter));
  result.trials = meter.take_trials();
  result.runs = meter.runs();
  result.budget = meter.budget();
  return result;
}

}  // namespace onnxtool
