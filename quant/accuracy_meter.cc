#include "quant/accuracy_meter.h"

namespace onnxtool {
namespace {

// The search may cost this many times calibration and one evaluation.
constexpr int64_t kBudgetFactor = 3;
// The evaluation of a file runs both models on each sample.
constexpr int64_t kModels = 2;

RunOptions without_progress(RunOptions run) {
  run.progress = nullptr;
  return run;
}

}  // namespace

int64_t runs_of(const std::vector<CalibratorTrial>& trials) {
  int64_t runs = 0;
  for (const CalibratorTrial& t : trials) runs += t.runs;
  return runs;
}

AccuracyMeter::AccuracyMeter(const Quantizer::Output& out, const AccuracyTarget& target,
                             const AccuracyData& data)
    : target_(target),
      data_(data),
      quiet_(without_progress(data.run)),
      reference_(data.original, data.judged, quiet_) {
  // Choosing a calibrator is part of calibration.
  runs_ = data.calibration_samples + runs_of(out.trials) + kModels * all();
  budget_ = kBudgetFactor * runs_;
}

Result<double> AccuracyMeter::measure(const Quantizer::Output& out, int64_t samples,
                                      int64_t layers_in_float) {
  ComparisonOptions options;
  options.labelled = target_.kind == AccuracyTarget::Kind::kDrop;
  options.metrics.kl = target_.kind == AccuracyTarget::Kind::kKl;
  runs_ += runs_for(samples);
  ONNXTOOL_ASSIGN(const ModelComparison compared,
                  reference_.compare(out.model->graph(), samples, options));
  const double value = accuracy_of(compared, target_);
  trials_.push_back({layers_in_float, samples, value});
  return value;
}

}  // namespace onnxtool
