// Looks at models for an accuracy target, and what they cost.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "calib/compare/kept_reference.h"
#include "quant/accuracy.h"

namespace onnxtool {

/// What choosing a calibrator took.
int64_t runs_of(const std::vector<CalibratorTrial>& trials);

class AccuracyMeter {
 public:
  /// What the plain run does, calibration and the evaluation of the written file, is spent already.
  AccuracyMeter(const Quantizer::Output& out, const AccuracyTarget& target,
                const AccuracyData& data);
  AccuracyMeter(const AccuracyMeter&) = delete;
  AccuracyMeter& operator=(const AccuracyMeter&) = delete;

  const AccuracyTarget& target() const { return target_; }
  const AccuracyData& data() const { return data_; }
  /// Without progress.
  const RunOptions& run() const { return quiet_; }
  int64_t all() const { return data_.judged.size(); }
  int64_t at_most(int64_t samples) const { return std::min(samples, all()); }

  /// On `samples` of all, evenly spaced. layers_in_float is for the report.
  Result<double> measure(const Quantizer::Output& out, int64_t samples,
                         int64_t layers_in_float = 0);
  /// What measure() takes.
  int64_t runs_for(int64_t samples) const { return reference_.runs_for(samples); }

  void spend(int64_t runs) { runs_ += runs; }
  bool affords(int64_t runs) const { return runs_ + runs <= budget_; }
  /// Besides one look at all samples, which is kept for the end.
  int64_t left() const { return budget_ - runs_ - runs_for(all()); }

  int64_t runs() const { return runs_; }
  int64_t budget() const { return budget_; }
  std::vector<AccuracyTrial> take_trials() { return std::move(trials_); }

 private:
  const AccuracyTarget target_;
  const AccuracyData& data_;
  RunOptions quiet_;
  KeptReference reference_;
  std::vector<AccuracyTrial> trials_;
  int64_t runs_ = 0, budget_ = 0;
};

}  // namespace onnxtool
