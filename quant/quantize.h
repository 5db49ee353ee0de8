// Static quantization from a float model and samples to a QDQ model.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "calib/compare/compare.h"
#include "quant/emit.h"
#include "quant/prepare.h"
#include "quant/quantized_model.h"
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
};

/// Calibrates and emits; keeps the prepared float model, so that several ranges can be tried on it.
class Quantizer {
 public:
  /// `model` is prepared in place (a copy of the user's). Nothing to quantize is kNegative (exit
  /// 1), with the most frequent reasons.
  static Result<Quantizer> create(std::unique_ptr<Model> model, const QuantizeOptions& options);

  const Model& prepared() const { return *model_; }
  const Preparation& preparation() const { return preparation_; }
  const Placement& placement() const { return placement_; }

  /// Rescales channels where options ask for it; before calibrate().
  Status equalize(const SampleSource& source, const RunOptions& run);
  int equalized_pairs() const { return equalized_; }
  /// Runs the samples, once. For every calibrator, also those that the options do not ask for,
  /// where the summaries are to be kept.
  Status calibrate(const SampleSource& source, const RunOptions& run,
                   bool for_every_calibrator = false);
  /// Summaries by tensor name, as range files hold them.
  std::map<std::string, Summary> summaries() const;
  /// Instead of calibrate(): a tensor that is missing is kMismatch.
  Status use_summaries(const std::map<std::string, Summary>& summaries);

  /// Its decisions are placement()'s, less what the target is predicted not to fuse after all. The
  /// reference is prepared(), and is the caller's to share.
  struct Output : QuantizedModel {
    EmitReport emitted;
    std::vector<CalibratedTensor> tensors;
    Calibrator calibrator = Calibrator::kMinMax;
    std::vector<CalibratorTrial> trials;
  };
  /// The quantized model under the options' calibrator. The automatic choice runs every
  /// candidate on affordable_samples() of `source`.
  Result<Output> emit(const SampleSource& source, const RunOptions& run) const;

 private:
  Quantizer() = default;
  Status settle_products();
  Result<Output> emit_with(Calibrator calibrator) const;
  Result<TensorParams> params_for(const QuantizedTensor& tensor,
                                  const std::map<const Value*, const Summary*>& summaries,
                                  Calibrator calibrator) const;

  std::unique_ptr<Model> model_;
  QuantizeOptions options_;
  Preparation preparation_;
  TypicalShapes shapes_;
  std::set<std::string> left_alone_;  // results of products that gain nothing, by name
  Placement placement_;
  std::vector<Summary> summaries_;  // of placement_.watched
  int equalized_ = 0;
};

}  // namespace onnxtool
