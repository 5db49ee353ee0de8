// One run of `onnxtool quantize`: load, the method, verify, write, report.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "apps/command.h"
#include "apps/progress.h"
#include "apps/quantize_flags.h"
#include "apps/quantize_method.h"
#include "apps/report/report.h"
#include "calib/compare/compare.h"
#include "calib/exec/modules.h"

namespace onnxtool {

class QuantizeJob {
 public:
  QuantizeJob(const QuantizeFlags& flags, const Streams& streams)
      : o_(flags), streams_(streams), progress_(streams, flags.common.quiet) {}

  /// The exit code: 1 where nothing is quantized or the result is worse than none.
  Result<int> run();

 private:
  /// Whether a model is written in the end.
  bool writes() const { return !o_.dry_run && method_->makes_model(); }
  Status open_files();
  Status check_selections() const;
  Status open_model();
  Status open_data();
  Result<std::unique_ptr<SampleSource>> open_samples(const std::string& path) const;
  /// The method said that nothing is quantized.
  Result<int> nothing(const Error& why);
  Result<int> dry_run();
  void stamp(Model& model) const;
  Status verify();
  Status verify_around(const Model& loaded, const std::vector<const Node*>& in_the_way);
  std::vector<const Node*> in_the_way() const;
  /// An error of what wanted to run a model that cannot be run says what does without.
  Error explained(Error error) const;
  Status compare(const Graph& reference, const Graph& loaded, const SampleSource& source,
                 const std::string& data);
  Status judge(const ModelComparison& compared);
  Status compare_by_layer(const Graph& loaded, const SampleSource& source);
  Result<int> finish();
  Result<int> finish_without_model();
  Result<int> negative(Finding why);

  const QuantizeFlags& o_;
  const Streams& streams_;
  Progress progress_;
  std::unique_ptr<QuantizeMethod> method_;
  std::vector<ReportTarget> targets_;
  std::string output_;
  SaveOptions save_;
  DataOptions data_options_;
  std::unique_ptr<Model> original_;
  RunOptions run_;
  RunOptions calibration_run_;
  std::unique_ptr<SampleSource> calibration_, eval_;
  Report report_;
  std::optional<Section> accuracy_, layers_;
  bool good_ = true;              // no new NaN or infinities
  std::optional<Finding> unmet_;  // what else forbids to write the model
};

}  // namespace onnxtool
