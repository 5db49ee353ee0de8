// The search for an accuracy target: what layers get first, and which go back to float then, so
// that it is met.
//
// Rungs before float cost little or no speed: the best of all calibrators, one weight scale per
// channel, 16-bit activations where the target has them. All layers get them; where that is enough,
// the last one is taken back from those that do not need it. Layers are tried by the error that
// each makes by itself, which one instrumented run measures, and every choice that counts is
// verified by running the whole model. What it may cost is counted in runs of one sample,
// so that the result does not depend on the machine.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "quant/accuracy_target.h"
#include "quant/quantize.h"

namespace onnxtool {

struct AccuracyTrial {
  int64_t layers_in_float = 0;
  int64_t samples = 0;
  double value = 0;
};

struct RankedLayer {
  std::string layer, op, result;  // the node's name, or its result's where it has none
  double sqnr_db = 0;             // of what the layer made on integers, fed exact values
};

/// Something that layers got, or did not since it was no better.
struct AccuracyRung {
  std::string setting, from, to;  // as flags have them: "activation-type", "u8", "u16"
  int64_t samples = 0;
  double before = 0, after = 0;  // on `samples`
  bool kept = false;
  std::vector<RankedLayer> layers;  // that got it; empty: all
};

struct AccuracySearch {
  AccuracyTarget target;
  double before = 0, after = 0;  // on all samples
  bool met = false;
  std::vector<AccuracyRung> rungs;
  std::vector<RankedLayer> in_float;
  std::vector<AccuracyTrial> trials;
  int64_t runs = 0, budget = 0;  // of one sample
  /// The budget ended before the search did: more might have been found.
  bool cut_off = false;
};

/// A calibrated quantizer of the same model under other options: with the counts of `calibrated`,
/// or an error where these are not of the values that the options lead to; nullptr runs
/// calibration.
using Remake =
    std::function<Result<Quantizer>(const QuantizeOptions&, const Quantizer* calibrated)>;

struct AccuracyData {
  const Graph& original;
  const SampleSource& judged;       // samples that the target is measured on
  int64_t calibration_samples = 0;  // that calibration has run, or would have
  const RunOptions& run;
  Remake remake = {};  // none: all layers stay as they are
  /// Whether `remake` may run calibration.
  bool recalibrates = true;
};

/// Gives all layers what brings `out` closer to the target, puts those into float that keep it from
/// it, and replaces it; and `quantizer`, where options changed. The cost is at most
/// 3 x (calibration + one evaluation), as the run without a target has them, less one evaluation
/// that the caller has for the written file. The float model runs once a sample, unless what it
/// gives is too large to keep.
Result<AccuracySearch> reach_accuracy(Quantizer& quantizer, Quantizer::Output& out,
                                      const AccuracyTarget& target, const AccuracyData& data);

}  // namespace onnxtool
