// Static quantization: ranges from calibration samples, or from a range file.
#include <fmt/format.h>

#include "apps/quantize_accuracy.h"
#include "apps/quantize_method.h"
#include "apps/quantize_ranges.h"
#include "apps/quantize_report.h"
#include "quant/qoperator.h"
#include "quant/quantize.h"

namespace onnxtool {
namespace {

class StaticMethod final : public QuantizeMethod {
 public:
  StaticMethod(const QuantizeFlags& flags, QuantizeOptions options)
      : o_(flags), options_(std::move(options)), ranges_(flags), accuracy_(flags) {}

  std::string suffix() const override { return kQuantizedSuffix; }
  bool needs_samples() const override { return !ranges_.foreign(); }
  bool makes_model() const override { return !ranges_.only_a_shard(); }

  Status open() override {
    ONNXTOOL_TRY(ranges_.open());
    ONNXTOOL_TRY(accuracy_.open());
    if (!ranges_.of_the_model_as_it_is()) return {};
    options_.equalize = false;
    if (options_.smooth)
      return Error{ErrorCode::kUsage, "--smooth changes the values that ranges are of",
                   "leave it out, or the ranges of onnxruntime's and TensorRT's form"};
    return {};
  }

  Status check(const Model& model) const override {
    ONNXTOOL_TRY(options_.include.check(model));
    ONNXTOOL_TRY(options_.exclude.check(model));
    return options_.overrides.check(model);
  }

  Status decide(const QuantizeContext& c) override {
    if (c.calibration) options_.input_shapes = shapes_of_first(c.original, *c.calibration);
    ONNXTOOL_ASSIGN(Quantizer created, Quantizer::create(c.original.clone(), options_));
    quantizer_ = std::make_shared<Quantizer>(std::move(created));
    return {};
  }

  Status quantize(const QuantizeContext& c) override {
    if (options_.smooth) c.progress.stage("smooth");
    if (c.calibration) ONNXTOOL_TRY(quantizer_->smooth(*c.calibration, c.run));
    if (c.calibration) ONNXTOOL_TRY(quantizer_->equalize(*c.calibration, c.run));
    c.progress.stage("calibrate");
    ONNXTOOL_TRY(ranges_.calibrate(*quantizer_, c));
    if (!makes_model()) return {};
    c.progress.stage("quantize");
    ONNXTOOL_ASSIGN(out_, quantizer_->emit(c.calibration, c.run));
    ONNXTOOL_TRY(accuracy_.improve(*quantizer_, *out_, c));
    if (unmet()) return {};
    ONNXTOOL_TRY(ranges_.save_chosen(*out_));
    ONNXTOOL_TRY(write_form(*out_));
    out_->reference = std::shared_ptr<const Model>(quantizer_, &quantizer_->prepared());
    return {};
  }

  std::optional<Finding> unmet() const override { return accuracy_.unmet(); }
  std::vector<Setting> decided(const Model& original) const override {
    std::vector<Setting> out = accuracy_.decided(original);
    if (options_.calibrator.automatic && !quantizer_->has_given_ranges())
      out.push_back({"calibrator", {std::string(name(out_->calibrator))}});
    return out;
  }

  QuantizedModel& result() override { return *out_; }
  const Preparation& preparation() const override { return quantizer_->preparation(); }
  std::vector<std::string> preparation_notes() const override {
    std::vector<std::string> notes = preparation().notes;
    if (const int pairs = quantizer_->equalized_pairs())
      notes.push_back(fmt::format("channels evened out between {} pair{} of layers", pairs,
                                  pairs == 1 ? "" : "s"));
    if (options_.smooth) {
      const int values = quantizer_->smoothed_values();
      notes.push_back(
          fmt::format("channels of {} value{} smoothed", values, values == 1 ? "" : "s"));
    }
    return notes;
  }
  Section section() const override { return static_section(*quantizer_, out_ ? &*out_ : nullptr); }
  std::vector<Section> more_sections() const override { return accuracy_.sections(); }

 private:
  // Integer operators instead of Q and DQ; layers are compared in the form that has their floats.
  Status write_form(Quantizer::Output& out) const {
    if (options_.form == Form::kQOperator) {
      out.by_layer = std::move(out.model);
      out.model = out.by_layer->clone();
      lower_to_qoperator(*out.model, *options_.target);
    } else if (!o_.format.empty()) {
      // Of what was quantized before.
      ONNXTOOL_ASSIGN([[maybe_unused]] const FormReport raised, raise_to_qdq(*out.model));
    } else {
      return {};
    }
    out.emitted.predicted = fuse_qdq(*out.model, *options_.target);
    return {};
  }

  const QuantizeFlags& o_;
  QuantizeOptions options_;
  QuantizeRanges ranges_;
  QuantizeAccuracy accuracy_;
  std::shared_ptr<Quantizer> quantizer_;
  std::optional<Quantizer::Output> out_;
};

}  // namespace

Result<std::unique_ptr<QuantizeMethod>> make_static_method(const QuantizeFlags& flags) {
  ONNXTOOL_ASSIGN(QuantizeOptions options, quantize_options(flags));
  return std::unique_ptr<QuantizeMethod>(std::make_unique<StaticMethod>(flags, std::move(options)));
}

}  // namespace onnxtool
