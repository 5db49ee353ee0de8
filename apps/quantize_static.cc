// Static quantization: ranges from calibration samples, or from a range file.
#include <fmt/format.h>

#include "apps/quantize_accuracy.h"
#include "apps/quantize_method.h"
#include "apps/quantize_ranges.h"
#include "apps/quantize_report.h"
#include "quant/accuracy_target.h"
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
    if (o_.equalize)
      return Error{ErrorCode::kUsage, "--equalize changes the values that ranges are of",
                   "leave it out, or the ranges of onnxruntime's and TensorRT's form"};
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
    if (c.calibration) ONNXTOOL_TRY(scale_channels(*quantizer_, c));
    c.progress.stage("calibrate");
    ONNXTOOL_TRY(ranges_.calibrate(*quantizer_, c));
    if (!makes_model()) return {};
    c.progress.stage("quantize");
    ONNXTOOL_ASSIGN(out_, quantizer_->emit(c.calibration, c.run));
    ONNXTOOL_TRY(drop_what_is_worse(c));
    Remake remake;
    // Counts of a file serve every run that asks for another target, calibrator or type.
    if (c.calibration && !ranges_.of_the_model_as_it_is())
      remake = [&](const QuantizeOptions& options, const Quantizer* calibrated) {
        return remade(options, calibrated, c);
      };
    ONNXTOOL_TRY(accuracy_.improve(*quantizer_, *out_, c, remake, !ranges_.in_files()));
    if (unmet()) return {};
    // What met a target is written as it was judged.
    if (o_.accuracy_target.empty()) quantizer_->share_tied(*out_);
    ONNXTOOL_TRY(ranges_.save_chosen(*out_));
    ONNXTOOL_TRY(write_form(*out_));
    out_->reference = std::shared_ptr<const Model>(quantizer_, &quantizer_->prepared());
    return {};
  }

  std::optional<Finding> unmet() const override { return accuracy_.unmet(); }
  std::vector<Setting> decided(const Model& original) const override {
    std::vector<Setting> out = accuracy_.decided(original);
    if (quantizer_->options().calibrator.automatic && !quantizer_->has_given_ranges())
      out.push_back({"calibrator", {std::string(name(out_->calibrator))}});
    if (smoothing_ && !smoothing_->kept()) out.push_back({"smooth", {}});
    if (small_gains_ && !small_gains_->kept()) out.push_back({"equalize", {}});
    return out;
  }

  QuantizedModel& result() override { return *out_; }
  const Preparation& preparation() const override { return quantizer_->preparation(); }
  std::vector<std::string> preparation_notes() const override {
    std::vector<std::string> notes = preparation().notes;
    if (const int pairs = quantizer_->equalized_pairs())
      notes.push_back(fmt::format("channels evened out between {} pair{} of layers", pairs,
                                  pairs == 1 ? "" : "s"));
    if (small_gains_)
      notes.push_back(fmt::format("small differences between channels are {}evened out: {}",
                                  small_gains_->kept() ? "" : "not ", small_gains_->text()));
    if (smoothing_ && !smoothing_->kept()) {
      notes.push_back("channels are not smoothed: " + smoothing_->text());
    } else if (options_.smooth) {
      const int values = quantizer_->smoothed_values();
      notes.push_back(fmt::format("channels of {} value{} smoothed{}", values,
                                  values == 1 ? "" : "s",
                                  smoothing_ ? ": " + smoothing_->text() : ""));
    }
    return notes;
  }
  Section section() const override { return static_section(*quantizer_, out_ ? &*out_ : nullptr); }
  std::vector<Section> more_sections() const override { return accuracy_.sections(); }

 private:
  static Status scale_channels(Quantizer& quantizer, const QuantizeContext& c) {
    ONNXTOOL_TRY(quantizer.smooth(*c.calibration, c.run));
    return quantizer.equalize(*c.calibration, c.run);
  }

  // Before calibration.
  static Result<Quantizer> prepared(const QuantizeOptions& options, const QuantizeContext& c) {
    ONNXTOOL_ASSIGN(Quantizer quantizer, Quantizer::create(c.original.clone(), options));
    ONNXTOOL_TRY(scale_channels(quantizer, c));
    return quantizer;
  }

  // The same model under other options, calibrated (quant/accuracy.h, Remake).
  static Result<Quantizer> remade(const QuantizeOptions& options, const Quantizer* calibrated,
                                  const QuantizeContext& c) {
    ONNXTOOL_ASSIGN(Quantizer quantizer, prepared(options, c));
    if (calibrated) {
      const bool evened_out = quantizer.equalized_pairs() + calibrated->equalized_pairs() > 0;
      if (evened_out && options.per_channel != calibrated->options().per_channel)
        return Error{ErrorCode::kMismatch, "channels are evened out in another way", {}};
      ONNXTOOL_TRY(quantizer.use_summaries(calibrated->summaries(), calibrated->extremes()));
      return quantizer;
    }
    ONNXTOOL_TRY(quantizer.calibrate(*c.calibration, c.calibration_run));
    return quantizer;
  }

  // What was done to channels goes by a prediction: what came of it is compared with the model
  // without it. Where ranges come from files or go there they are those of the one model that the
  // flags ask for.
  Status drop_what_is_worse(const QuantizeContext& c) {
    if (!c.calibration || ranges_.in_files()) return {};
    if (quantizer_->smoothed_values() > 0) {
      c.progress.stage("quantize without smoothing");
      QuantizeOptions plain = options_;
      plain.smooth.reset();
      ONNXTOOL_ASSIGN(Quantizer quantizer, prepared(plain, c));
      ONNXTOOL_ASSIGN(smoothing_, keep_better(plain, std::move(quantizer), c));
    }
    if (options_.equalize_small_gains) {
      c.progress.stage("quantize without small gains");
      QuantizeOptions plain = options_;
      plain.equalize_small_gains = false;
      ONNXTOOL_ASSIGN(Quantizer quantizer, prepared(plain, c));
      if (quantizer.equalized_pairs() == quantizer_->equalized_pairs()) return {};
      ONNXTOOL_ASSIGN(small_gains_, keep_better(plain, std::move(quantizer), c));
    }
    return {};
  }

  // What was compared with the model without it.
  struct Compared {
    double with_db = 0, without_db = 0;
    bool kept() const { return with_db > without_db + kFittedMarginDb; }
    std::string text() const {
      return fmt::format("with that {:.2f} dB, without {:.2f} dB", with_db, without_db);
    }
  };

  Result<Compared> keep_better(const QuantizeOptions& plain, Quantizer quantizer,
                               const QuantizeContext& c) {
    ONNXTOOL_TRY(quantizer.calibrate(*c.calibration, c.calibration_run));
    ONNXTOOL_ASSIGN(Quantizer::Output out, quantizer.emit(c.calibration, c.run));
    Compared compared;
    ONNXTOOL_ASSIGN(compared.with_db, quantizer_->sqnr_on_some(*out_, *c.calibration, c.run));
    ONNXTOOL_ASSIGN(compared.without_db, quantizer.sqnr_on_some(out, *c.calibration, c.run));
    if (compared.kept()) return compared;
    options_ = plain;
    *quantizer_ = std::move(quantizer);
    out_ = std::move(out);
    return compared;
  }

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
  std::optional<Compared> smoothing_, small_gains_;  // where both were compared
};

}  // namespace

Result<std::unique_ptr<QuantizeMethod>> make_static_method(const QuantizeFlags& flags) {
  ONNXTOOL_ASSIGN(QuantizeOptions options, quantize_options(flags));
  return std::unique_ptr<QuantizeMethod>(std::make_unique<StaticMethod>(flags, std::move(options)));
}

}  // namespace onnxtool
