// A way of quantizing, as `onnxtool quantize` runs it: static, and what other mode flags ask for.
//
// The job (quantize_job.h) opens model and data, calls the method, and verifies, writes and reports
// its result. One file a method; make_method() knows them all.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "apps/progress.h"
#include "apps/quantize_flags.h"
#include "apps/quantize_recipe.h"
#include "apps/report/report.h"
#include "calib/exec/modules.h"
#include "calib/ranges/collect.h"
#include "quant/prepare.h"
#include "quant/quantized_model.h"

namespace onnxtool {

/// What a method works with; all of it outlives the method's calls.
struct QuantizeContext {
  const Model& original;
  const SampleSource* calibration = nullptr;  // nullptr: none was given
  const SampleSource* eval = nullptr;
  const RunOptions& run;
  const RunOptions& calibration_run;  // may be less exact
  Progress& progress;
  std::string output;  // path; "-" is stdout
};

class QuantizeMethod {
 public:
  virtual ~QuantizeMethod() = default;

  /// In place of .onnx, where no output is named.
  virtual std::string suffix() const = 0;
  /// Whether it cannot do without calibration samples.
  virtual bool needs_samples() const = 0;
  /// False where quantize() ends with files of its own, and nothing is verified or written after
  /// it.
  virtual bool makes_model() const { return true; }
  /// Reads the files that flags name, before any work is done and before anything above is asked.
  virtual Status open() { return {}; }
  /// Refuses flags that do not suit the model: selectors that match nothing.
  virtual Status check(const Model& model) const = 0;
  /// Decides what is quantized. Nothing to quantize is kNegative (exit 1).
  virtual Status decide(const QuantizeContext& context) = 0;
  /// Makes the model.
  virtual Status quantize(const QuantizeContext& context) = 0;

  /// Why what quantize() made must not be written, where that is so: exit 1.
  virtual std::optional<Finding> unmet() const { return std::nullopt; }
  /// What it found out, for settings that repeat it.
  virtual std::vector<Setting> decided(const Model& /*original*/) const { return {}; }

  /// Puts what the target makes of `loaded`, the file's model, where that computes something else:
  /// it is judged by that.
  virtual void run_as_target(Model& /*loaded*/) const {}

  /// What quantize() made; the caller may edit the model's header.
  virtual QuantizedModel& result() = 0;
  virtual const Preparation& preparation() const = 0;
  /// What was done to the float model besides.
  virtual std::vector<std::string> preparation_notes() const { return preparation().notes; }
  /// Nodes and why they stay float; with what quantize() knows, once it was called.
  virtual Section section() const = 0;
  virtual std::vector<Section> more_sections() const { return {}; }
};

/// The method that the mode flags ask for. Errors: flags that contradict each other.
Result<std::unique_ptr<QuantizeMethod>> make_method(const QuantizeFlags& flags);

Result<std::unique_ptr<QuantizeMethod>> make_static_method(const QuantizeFlags& flags);
/// --to: 16-bit floats.
Result<std::unique_ptr<QuantizeMethod>> make_half_method(const QuantizeFlags& flags);
/// --format without data: a model that is quantized already, in the other form.
Result<std::unique_ptr<QuantizeMethod>> make_form_method(const QuantizeFlags& flags);
Result<std::unique_ptr<QuantizeMethod>> make_weight_only_method(const QuantizeFlags& flags);
Result<std::unique_ptr<QuantizeMethod>> make_dynamic_method(const QuantizeFlags& flags);

/// Of the first sample, by input; nothing where it cannot be read: calibration will say what is
/// wrong with it.
std::map<std::string, std::vector<int64_t>> shapes_of_first(const Model& model,
                                                            const SampleSource& source);

}  // namespace onnxtool
