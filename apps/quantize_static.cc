// Static quantization: ranges from calibration samples, or from a range file.
#include <fmt/format.h>

#include "apps/files.h"
#include "apps/quantize_method.h"
#include "apps/quantize_report.h"
#include "calib/compare/golden.h"
#include "calib/data/model_inputs.h"
#include "calib/ranges/range_file.h"
#include "libopt/support/sha256.h"
#include "quant/qoperator.h"
#include "quant/quantize.h"

namespace onnxtool {
namespace {

// A digest of everything that decides what the samples' values are.
std::string options_digest(const QuantizeFlags& o) {
  Sha256 d;
  const DataFlags& f = o.data;
  for (const std::string& s : {f.format, f.batch_axis, f.preprocess, f.resize, f.crop, f.layout,
                               f.channels, f.scale, f.mean, f.std})
    d.add(s + "\n");
  for (const auto* list : {&f.raw, &f.dims, &f.input_shapes, &o.include, &o.exclude})
    for (const std::string& s : *list) d.add(s + "\n");
  d.add(fmt::format("{} {} {} {}", o.no_equalize, o.preset, o.per_tensor, o.no_opset_change));
  return d.hex();
}

Result<std::string> data_digest(const QuantizeFlags& o, const SampleSource& source) {
  Sha256 d;
  if (o.data.random) {
    d.add(fmt::format("random {} {}", o.data.random, o.data.seed));
    return d.hex();
  }
  for (int64_t i = 0; i < source.size(); ++i) {
    ONNXTOOL_ASSIGN(const Sample s, source.read(i));
    for (const Tensor& t : s.inputs) d.add(t.bytes());
  }
  return d.hex();
}

class StaticMethod final : public QuantizeMethod {
 public:
  StaticMethod(const QuantizeFlags& flags, QuantizeOptions options)
      : o_(flags), options_(std::move(options)) {}

  std::string suffix() const override { return kQuantizedSuffix; }
  bool needs_samples() const override { return true; }

  Status open() override {
    if (o_.ranges.empty()) return {};
    ONNXTOOL_ASSIGN(const std::string text, read_text(o_.ranges));
    auto file = load_ranges(text);
    if (!file.ok())
      return Error{file.error().code, o_.ranges + ": " + file.error().message,
                   "give a file that --save-ranges wrote"};
    ranges_ = *std::move(file);
    return {};
  }

  Status check(const Model& model) const override {
    ONNXTOOL_TRY(options_.include.check(model));
    return options_.exclude.check(model);
  }

  Status decide(const QuantizeContext& c) override {
    if (c.calibration) options_.input_shapes = shapes_of_first(c.original, *c.calibration);
    ONNXTOOL_ASSIGN(Quantizer created, Quantizer::create(c.original.clone(), options_));
    quantizer_ = std::make_shared<Quantizer>(std::move(created));
    return {};
  }

  Status quantize(const QuantizeContext& c) override {
    ONNXTOOL_TRY(quantizer_->equalize(*c.calibration, c.run));
    c.progress.stage("calibrate");
    ONNXTOOL_TRY(calibrate(c));
    c.progress.stage("quantize");
    ONNXTOOL_ASSIGN(out_, quantizer_->emit(*c.calibration, c.run));
    ONNXTOOL_TRY(write_form(*out_));
    out_->reference = std::shared_ptr<const Model>(quantizer_, &quantizer_->prepared());
    return {};
  }

  QuantizedModel& result() override { return *out_; }
  const Preparation& preparation() const override { return quantizer_->preparation(); }
  std::vector<std::string> preparation_notes() const override {
    std::vector<std::string> notes = preparation().notes;
    if (const int pairs = quantizer_->equalized_pairs())
      notes.push_back(fmt::format("channels evened out between {} pair{} of layers", pairs,
                                  pairs == 1 ? "" : "s"));
    return notes;
  }
  Section section() const override { return static_section(*quantizer_, out_ ? &*out_ : nullptr); }

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

  Status calibrate(const QuantizeContext& c) {
    RangeKey key;
    if (!o_.ranges.empty() || !o_.save_ranges.empty()) {
      key.model = model_digest(c.original);
      ONNXTOOL_ASSIGN(key.data, data_digest(o_, *c.calibration));
      key.options = options_digest(o_);
      key.kernel_set = std::string(c.kernels.sets[0]->name);
      key.isa = std::string(c.kernels.sets[0]->isa);
    }
    if (ranges_) {
      if (Status s = check_ranges(*ranges_, key); !s.ok())
        return std::move(s).error().at(o_.ranges);
      return quantizer_->use_summaries(ranges_->tensors);
    }
    ONNXTOOL_TRY(quantizer_->calibrate(*c.calibration, c.run, !o_.save_ranges.empty()));
    if (o_.save_ranges.empty()) return {};
    RangeFile file;
    file.key = std::move(key);
    file.samples = static_cast<uint64_t>(c.calibration->size());
    file.tensors = quantizer_->summaries();
    return write_text(o_.save_ranges, save_ranges(file));
  }

  const QuantizeFlags& o_;
  QuantizeOptions options_;
  std::optional<RangeFile> ranges_;
  std::shared_ptr<Quantizer> quantizer_;
  std::optional<Quantizer::Output> out_;
};

}  // namespace

Result<std::unique_ptr<QuantizeMethod>> make_static_method(const QuantizeFlags& flags) {
  ONNXTOOL_ASSIGN(QuantizeOptions options, quantize_options(flags));
  return std::unique_ptr<QuantizeMethod>(std::make_unique<StaticMethod>(flags, std::move(options)));
}

}  // namespace onnxtool
