// Static quantization from a float model and samples to a QDQ model.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "calib/compare/compare.h"
#include "quant/bias_correction.h"
#include "quant/emit.h"
#include "quant/prepare.h"
#include "quant/quantized_model.h"
#include "quant/rounding.h"
#include "quant/scheme.h"

namespace onnxtool {

/// A tensor's calibrated range in the result.
struct CalibratedTensor {
  std::string name;
  Range range;
  QuantParams params;
  double expected_sqnr_db = 0;  // from its histogram; NaN where there is none
};

/// What an automatic choice saw of one calibrator.
struct CalibratorTrial {
  Calibrator calibrator;
  double sqnr_db = 0;  // of the outputs on the samples tried
  int64_t runs = 0;    // of one sample, of both models
};

/// What the automatic choice runs.
std::vector<Calibrator> tried_calibrators(const QuantizeOptions& options);

/// Calibrates and emits; keeps the prepared float model, so that several ranges can be tried on it.
class Quantizer {
 public:
  /// `model` is prepared in place (a copy of the user's). Nothing to quantize is kNegative (exit
  /// 1), with the most frequent reasons.
  static Result<Quantizer> create(std::unique_ptr<Model> model, const QuantizeOptions& options);

  const Model& prepared() const { return *model_; }
  const QuantizeOptions& options() const { return options_; }
  const Preparation& preparation() const { return preparation_; }
  const Placement& placement() const { return placement_; }

  /// Rescales channels where options ask for it; before calibrate().
  Status equalize(const SampleSource& source, const RunOptions& run);
  int equalized_pairs() const { return equalized_; }
  /// Likewise, before equalize(): channels of what products read.
  Status smooth(const SampleSource& source, const RunOptions& run);
  int smoothed_values() const { return smoothed_; }
  /// Runs the samples, once. For every calibrator, also those that the options do not ask for, and
  /// whatever goes back to float, where the summaries are to be kept.
  Status calibrate(const SampleSource& source, const RunOptions& run,
                   bool for_every_calibrator = false);
  /// What calibrate() learnt, by tensor name, as range files hold it.
  const std::map<std::string, Summary>& summaries() const { return summaries_; }
  /// Empty unless the calibrator asks for them or every one may.
  const std::map<std::string, std::vector<Extremes>>& extremes() const { return extremes_; }
  /// Instead of calibrate(): a tensor that is missing is kMismatch.
  Status use_summaries(std::map<std::string, Summary> summaries,
                       std::map<std::string, std::vector<Extremes>> extremes);
  /// Instead of calibrate(), and of a calibrator: these ranges as they are.
  Status use_ranges(std::map<std::string, Range> ranges);
  bool has_given_ranges() const { return !given_.empty(); }

  /// Its decisions are placement()'s, less what the target is predicted not to fuse after all. The
  /// reference is prepared(), and is the caller's to share.
  struct Output : QuantizedModel {
    EmitReport emitted;
    std::vector<CalibratedTensor> tensors;
    Calibrator calibrator = Calibrator::kMinMax;
    std::vector<CalibratorTrial> trials;
    /// Of every quantized activation of the reference, by name; those that share one included.
    std::map<std::string, Range> ranges;
  };
  /// The quantized model under the options' calibrator. The automatic choice runs every
  /// candidate on affordable_samples() of `source`, which nothing else reads.
  Result<Output> emit(const SampleSource* source, const RunOptions& run);
  /// The same with one calibrator, and with these layers in float (by their first result) besides
  /// those that overrides leave there; placement() is then the new one.
  Result<Output> emit_in_float(const std::set<std::string>& results, Calibrator calibrator);
  /// The same as emit() with one calibrator, and these overrides instead of those that it was made
  /// with; the opset is what the former asked for.
  Result<Output> emit_with(Overrides overrides, Calibrator calibrator);

  /// The last step: heads that are tied to an embedding take its codes, as far as these are within
  /// rounding of their own.
  void share_tied(Output& out) const;

  /// SQNR of the worst output on affordable_samples() of `source`; outputs whose sizes depend on
  /// the data are judged where sizes agree.
  Result<double> sqnr_on_some(const Output& out, const SampleSource& source,
                              const RunOptions& run) const;

  /// What became of something that is kept where the worst output comes closer to the float model.
  struct Improvement {
    bool kept = false;
    int64_t samples = 0;
    double before_db = 0, after_db = 0;  // SQNR of the worst output on `samples`
  };

  /// What became of a bias correction.
  struct Correction : Improvement {
    int64_t layers = 0;
  };
  /// Corrects biases by what `out` is off on average, and replaces it where that brings its worst
  /// output closer to the float model. What is emitted later has the same corrections.
  Result<Correction> correct_biases(Output& out, const SampleSource& source, const RunOptions& run);

  /// What became of rounding weights again.
  struct Rerounding : Improvement {
    RoundedLayers layers;
  };
  /// Rounds weights by what they do to each layer's output (quant/rounding.h), likewise.
  Result<Rerounding> round_weights(Output& out, const SampleSource& source, const RunOptions& run);

 private:
  Quantizer() = default;
  Status settle_products();
  Status pack_tables();
  Status drop_unfused();
  Status all_on_integers(Output& out);
  Status keep_candidate(Output& out, Output candidate, bool kept);
  /// Measures something on some samples with `measure`, which emit_with() applies then; `drop`
  /// takes it back where it does not help.
  Status keep_if_better(
      Output& out, const SampleSource& source, const RunOptions& run, Improvement& result,
      const std::function<Status(const SampleSource& some, const RunOptions& quiet)>& measure,
      const std::function<void()>& drop);
  Result<Output> emit_with(Calibrator calibrator) const;
  std::vector<const Value*> observed(bool everything = false) const;
  void leave_in_float(const std::set<std::string>& results);
  OverrideValues wished(const Value& owner) const;
  Result<Output> best_of_all(const SampleSource& source, const RunOptions& run) const;
  Result<TensorParams> params_for(const QuantizedTensor& tensor, Calibrator calibrator) const;
  Result<Range> range_of_activation(const Value& owner, const QuantScheme& scheme,
                                    Calibrator calibrator) const;

  std::unique_ptr<Model> model_;
  QuantizeOptions options_;
  Preparation preparation_;
  std::set<std::string> fusing_elsewhere_;  // tensors that codes of the usual type would have had
  Weighing weighing_;                       // in float: results of products that gain nothing
  Placement placement_;
  std::map<std::string, Summary> summaries_;
  std::map<std::string, std::vector<Extremes>> extremes_;
  std::map<std::string, Range> given_;
  BiasCorrections corrections_;
  RoundedLayers rounded_;
  std::set<std::string> wished_in_float_;  // by overrides
  std::vector<NodeDecision> weighed_;      // before layers went back to float
  int equalized_ = 0, smoothed_ = 0;
};

}  // namespace onnxtool
