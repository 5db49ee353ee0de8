// --dynamic: integer weights, and activations quantized while the model runs.
#include "apps/quantize_method.h"
#include "apps/quantize_report.h"
#include "quant/dynamic.h"

namespace onnxtool {
namespace {

class DynamicMethod final : public QuantizeMethod {
 public:
  explicit DynamicMethod(DynamicOptions options) : options_(std::move(options)) {}

  std::string suffix() const override { return kQuantizedSuffix; }
  bool needs_samples() const override { return false; }

  Status check(const Model& model) const override {
    ONNXTOOL_TRY(options_.include.check(model));
    return options_.exclude.check(model);
  }

  Status decide(const QuantizeContext& c) override {
    const SampleSource* samples = c.calibration ? c.calibration : c.eval;
    if (samples) options_.input_shapes = shapes_of_first(c.original, *samples);
    ONNXTOOL_ASSIGN(plan_, plan_dynamic(c.original.clone(), options_));
    return {};
  }

  Status quantize(const QuantizeContext& c) override {
    c.progress.stage("quantize");
    return quantize_dynamically(*plan_, options_);
  }

  QuantizedModel& result() override { return *plan_; }
  const Preparation& preparation() const override { return plan_->preparation; }

  Section section() const override {
    Section s{"quantization", "Quantization", {}, {}, {}, false};
    NodeTables tables = node_tables(plan_->decisions);
    s.fields.push_back({"mode", "mode", std::string("dynamic"), ""});
    s.fields.push_back({"quantized_nodes", "nodes on integers", tables.quantized, ""});
    s.fields.push_back({"float_nodes", "nodes in float", tables.in_float, ""});
    s.notes = plan_->notes;
    s.tables.push_back(std::move(tables.why));
    s.tables.push_back(std::move(tables.nodes));
    return s;
  }

 private:
  DynamicOptions options_;
  std::optional<DynamicModel> plan_;
};

}  // namespace

Result<std::unique_ptr<QuantizeMethod>> make_dynamic_method(const QuantizeFlags& flags) {
  DynamicOptions options;
  options.target = find_target(flags.target);
  if (!options.target->is_onnxruntime || options.target->ops.empty())
    return Error{
        ErrorCode::kUsage,
        "--dynamic: --target " + flags.target + " does not quantize while it runs",
        "it is for onnxruntime's CPU provider: ort-cpu, ort-cpu-no-vnni, ort-arm64, ort-mobile"};
  if (flags.weight_type != "s8" && flags.weight_type != "u8")
    return Error{
        ErrorCode::kUsage,
        "--dynamic: weights of type " + flags.weight_type + " run on integers in no kernel",
        "use --weight-type s8 or u8, or --weight-only"};
  options.is_signed = flags.weight_type == "s8";
  options.per_channel = !flags.per_tensor;
  options.no_opset_change = flags.no_opset_change;
  ONNXTOOL_ASSIGN(options.include, Selection::parse(flags.include));
  ONNXTOOL_ASSIGN(options.exclude, Selection::parse(flags.exclude));
  return std::unique_ptr<QuantizeMethod>(std::make_unique<DynamicMethod>(std::move(options)));
}

}  // namespace onnxtool
