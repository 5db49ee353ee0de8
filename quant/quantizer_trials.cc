// What a Quantizer tries on samples, and keeps where it brings the worst output closer.

#include <cmath>

#include "calib/compare/kept_reference.h"
#include "quant/accuracy_target.h"
#include "quant/equalize.h"
#include "quant/float8.h"
#include "quant/quantize.h"

namespace onnxtool {
namespace {

// Minmax holds the extremes of the very samples that it is judged on; on others it loses what this
// asks of it.
constexpr double kMinMaxMarginDb = 1;

}  // namespace

std::vector<Calibrator> tried_calibrators(const QuantizeOptions& options) {
  std::vector<Calibrator> out = {Calibrator::kMse, Calibrator::kEntropy, Calibrator::kPercentile,
                                 Calibrator::kMinMax};
  if (is_quantized_float(options.activation_type)) std::erase(out, Calibrator::kEntropy);
  return out;
}

Result<double> Quantizer::sqnr_on_some(const Output& out, const SampleSource& source,
                                       const RunOptions& run) const {
  RunOptions quiet = run;
  quiet.progress = nullptr;
  const SpreadSamples some(source, affordable_samples(placement_));
  ONNXTOOL_ASSIGN(const ModelComparison compared,
                  compare_models(model_->graph(), out.model->graph(), some, quiet, {}));
  return worst_sqnr(compared);
}

// Improvements are judged with every layer on integers, whether overrides leave some in float or
// the search for a target does later: a recipe turns the one into the other.
Status Quantizer::all_on_integers(Output& out) {
  if (wished_in_float_.empty()) return {};
  leave_in_float({});
  ONNXTOOL_ASSIGN(Output all, emit_with(out.calibrator));
  all.trials = std::move(out.trials);
  out = std::move(all);
  return {};
}

Status Quantizer::keep_candidate(Output& out, Output candidate, bool kept) {
  if (!wished_in_float_.empty()) {
    leave_in_float(wished_in_float_);
    ONNXTOOL_ASSIGN(candidate, emit_with(out.calibrator));
  }
  if (!kept && wished_in_float_.empty()) return {};
  candidate.trials = std::move(out.trials);
  out = std::move(candidate);
  return {};
}

Status Quantizer::keep_if_better(
    Output& out, const SampleSource& source, const RunOptions& run, Improvement& result,
    const std::function<Status(const SampleSource& some, const RunOptions& quiet)>& measure,
    const std::function<void()>& drop) {
  RunOptions quiet = run;
  quiet.progress = nullptr;
  ONNXTOOL_TRY(all_on_integers(out));
  const SpreadSamples some(source, affordable_samples(placement_));
  ONNXTOOL_TRY(measure(some, quiet));
  result.samples = some.size();
  KeptReference reference(model_->graph(), some, quiet);
  ONNXTOOL_ASSIGN(const ModelComparison before,
                  reference.compare(out.model->graph(), some.size(), {}));
  ONNXTOOL_ASSIGN(Output candidate, emit_with(out.calibrator));
  ONNXTOOL_ASSIGN(const ModelComparison after,
                  reference.compare(candidate.model->graph(), some.size(), {}));
  result.before_db = worst_sqnr(before);
  result.after_db = worst_sqnr(after);
  result.kept = result.after_db > result.before_db;
  if (!result.kept) drop();
  return keep_candidate(out, std::move(candidate), result.kept);
}

Result<Quantizer::Correction> Quantizer::correct_biases(Output& out, const SampleSource& source,
                                                        const RunOptions& run) {
  Correction c;
  const auto measure = [&](const SampleSource& some, const RunOptions& quiet) -> Status {
    ONNXTOOL_ASSIGN(corrections_, measure_bias_corrections(placement_, model_->graph(),
                                                           out.model->graph(), some, quiet));
    c.layers = static_cast<int64_t>(corrections_.size());
    return {};
  };
  ONNXTOOL_TRY(keep_if_better(out, source, run, c, measure, [&] { corrections_.clear(); }));
  return c;
}

Result<Quantizer::Rerounding> Quantizer::round_weights(Output& out, const SampleSource& source,
                                                       const RunOptions& run) {
  Rerounding r;
  const auto measure = [&](const SampleSource& some, const RunOptions& quiet) -> Status {
    ONNXTOOL_ASSIGN(rounded_, round_layers(placement_, model_->graph(), out.model->graph(), some,
                                           quiet, options_.target->adds_pairs));
    r.layers = rounded_;
    return {};
  };
  ONNXTOOL_TRY(keep_if_better(out, source, run, r, measure, [&] { rounded_.clear(); }));
  return r;
}

Result<Quantizer::Output> Quantizer::best_of_all(const SampleSource& source,
                                                 const RunOptions& run) const {
  Result<Output> best = Error{ErrorCode::kNegative, "no calibrator gave a model", {}};
  std::vector<CalibratorTrial> trials;
  double best_sqnr = -INFINITY;
  RunOptions quiet = run;
  quiet.progress = nullptr;
  const SpreadSamples some(source, affordable_samples(placement_));
  KeptReference reference(model_->graph(), some, quiet);
  for (const Calibrator c : tried_calibrators(options_)) {
    ONNXTOOL_ASSIGN(Output candidate, emit_with(c));
    const int64_t runs = reference.runs_for(some.size());
    ONNXTOOL_ASSIGN(const ModelComparison compared,
                    reference.compare(candidate.model->graph(), some.size(), {}));
    const double worst = worst_sqnr(compared);
    trials.push_back({c, worst, runs});
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
