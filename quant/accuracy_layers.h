// Which layers have to change for an accuracy target: as few as do.
#pragma once

#include <functional>
#include <limits>
#include <map>
#include <vector>

#include "quant/accuracy_meter.h"

namespace onnxtool {

struct RankedLayers {
  std::vector<RankedLayer> layers;  // by the error that each makes by itself, the largest first
  /// So many of the first leave something on integers when they go back to float.
  size_t most_in_float = 0;
};

/// One instrumented run, on as many samples as the budget has, which are at least one
/// (instrumented_samples).
Result<RankedLayers> rank_layers(const Quantizer& quantizer, const Quantizer::Output& out,
                                 AccuracyMeter& meter);
/// Below 1: there is nothing left for such a run.
int64_t instrumented_samples(const AccuracyMeter& meter);
/// The fewest samples that a trial is worth.
inline constexpr int64_t kFewestTrialSamples = 4;
/// What the run and the trials of so many layers take, with so many samples each.
int64_t least_runs(const AccuracyMeter& meter, size_t layers,
                   int64_t samples = kFewestTrialSamples);

/// The model with a change to some layers.
using ChangedLayers =
    std::function<Result<Quantizer::Output>(const std::vector<RankedLayer>& layers)>;
/// Whether anything of it is on integers: a float model meets every target, and is not what was
/// asked for.
bool is_quantized(const Quantizer::Output& out);

/// Looks for the fewest layers on few samples. More of them are taken to be better.
class LayerSearch {
 public:
  struct Start {
    const Quantizer::Output& out;
    double value = 0;  // on all samples, or what is expected of them
    /// That led to `value`: where they are not all, trials must promise more than the target.
    int64_t samples = 0;
    bool in_float = false;  // for the report: what changes are
  };
  LayerSearch(const std::vector<RankedLayer>& ranked, size_t most, ChangedLayers make,
              const Start& start, AccuracyMeter& meter);

  Status find();
  /// What was found, or, where nothing that was tried is enough, as many as may be; empty: nothing
  /// may change.
  const std::vector<RankedLayer>& chosen() const { return chosen_; }
  /// Whether the trials say that chosen() is enough.
  bool found() const { return found_; }
  bool cut_off() const { return cut_off_; }
  /// Where chosen() has `value` on all samples, which is not enough: chooses more. False: there are
  /// none.
  bool choose_more(double value);

 private:
  enum class Verdict : uint8_t { kEnough, kNotEnough, kNothingLeft, kBudgetSpent };

  Result<Verdict> judge(const std::vector<RankedLayer>& layers);
  bool affords_two_looks() const;
  Result<Verdict> judge_first(size_t k);
  Status drop_needless();
  size_t more_than_chosen(double value) const;
  std::vector<RankedLayer> first(size_t k) const;
  void choose_first(size_t k);

  static constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

  const std::vector<RankedLayer>& ranked_;
  size_t most_;
  ChangedLayers make_;
  Start start_;
  AccuracyMeter& meter_;
  int64_t trial_samples_ = 1;
  std::vector<RankedLayer> chosen_;
  size_t wanted_ = 0;  // chosen() is a part of so many of ranked_
  bool found_ = false, cut_off_ = false;
  bool sure_ = false;  // the last one that was enough promised more than the target
  // On the few samples of trials: of what it starts with, of the last one, of chosen(), and of the
  // first k of ranked_.
  double start_on_few_ = kNaN, on_few_ = kNaN, chosen_on_few_ = kNaN;
  std::map<size_t, double> firsts_on_few_;
};

}  // namespace onnxtool
