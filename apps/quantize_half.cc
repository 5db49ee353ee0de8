// --to fp16 and --to bf16: 16-bit floats, by node.
#include <fmt/format.h>

#include <algorithm>

#include "apps/quantize_method.h"
#include "apps/quantize_report.h"
#include "quant/decisions.h"
#include "quant/half.h"

namespace onnxtool {
namespace {

constexpr int64_t kEvalSamples = 64;

class HalfMethod final : public QuantizeMethod {
 public:
  explicit HalfMethod(HalfOptions options)
      : options_(std::move(options)), constants_(options_.type) {}

  std::string suffix() const override {
    return options_.type == DataType::kFloat16 ? ".fp16.onnx" : ".bf16.onnx";
  }
  bool needs_samples() const override { return false; }

  Status check(const Model& model) const override {
    ONNXTOOL_TRY(options_.include.check(model));
    return options_.exclude.check(model);
  }

  Status decide(const QuantizeContext& c) override {
    std::unique_ptr<Model> prepared = c.original.clone();
    ONNXTOOL_ASSIGN(preparation_, prepare_for_half(prepared, options_));
    prepared_ = std::move(prepared);
    result_.reference = prepared_;
    if (stores_only()) return {};
    plan_ = plan_half(*prepared_, options_, nullptr, constants_);
    if (any_half() || c.calibration || c.eval) return {};
    return nothing();
  }

  Status quantize(const QuantizeContext& c) override {
    if ((c.calibration || c.eval) && !stores_only()) {
      c.progress.stage("calibrate");
      ONNXTOOL_ASSIGN(const MeasuredRanges ranges, measured(c));
      plan_ = plan_half(*prepared_, options_, &ranges, constants_);
      measured_ = true;
    }
    c.progress.stage("quantize");
    result_.model = prepared_->clone();
    report_ = stores_only() ? store_half(*result_.model, constants_)
                            : apply_half(*result_.model, plan_, options_, constants_);
    result_.decisions = plan_.decisions;
    for (const NodeDecision& d : plan_.decisions) {
      if (!d.integer || &d.node->graph() != &prepared_->graph() || !d.node->has_output(0)) continue;
      const Value& reference = d.node->output(0);
      if (const Value* test = result_.model->graph().find(reference.name()))
        result_.layers.push_back({&reference, test});
    }
    if (report_.converted_bytes > 0 || any_half()) return {};
    return nothing();
  }

  QuantizedModel& result() override { return result_; }
  const Preparation& preparation() const override { return preparation_; }

  Section section() const override {
    Section s{"half", "16-bit floats", {}, {}, {}, false};
    s.fields.push_back({"type", "type", std::string(name(options_.type)), ""});
    NodeTables tables = node_tables(plan_.decisions);
    if (!stores_only()) {
      s.fields.push_back({"half_nodes", "nodes in 16 bits", tables.quantized, ""});
      s.fields.push_back({"float_nodes", "nodes in float32", tables.in_float, ""});
    }
    if (result_.model) {
      s.fields.push_back({"casts", "Casts inserted", int64_t{report_.casts}, ""});
      s.fields.push_back(
          {"converted_bytes", "weights converted", report_.converted_bytes, "bytes"});
    }
    if (stores_only())
      s.notes.push_back(
          fmt::format("{} does not compute in {}: weights are stored in it, and Casts give them "
                      "back as float32",
                      options_.target->name, name(options_.type)));
    else if (!measured_)
      s.notes.push_back(
          "no values were measured: what may leave the range stays float32; --calib tells");
    if (constants_.masks())
      s.notes.push_back(fmt::format("{} attention mask{} at -32768 instead of beyond the range",
                                    constants_.masks(),
                                    constants_.masks() == 1 ? " ends" : "s end"));
    s.tables.push_back(std::move(tables.why));
    s.tables.push_back(std::move(tables.nodes));
    return s;
  }

 private:
  // Without samples of its own, some of those that judge the result tell what leaves the range.
  Result<MeasuredRanges> measured(const QuantizeContext& c) const {
    if (c.calibration) return measure_ranges(*prepared_, *c.calibration, c.run);
    const SpreadSamples some(*c.eval, std::min(kEvalSamples, c.eval->size()));
    return measure_ranges(*prepared_, some, c.run);
  }

  Error nothing() const {
    return nothing_quantized(
        "nothing becomes 16-bit floats", plan_.decisions,
        stores_only() ? "the graph has no float32 weights" : "the graph has no floats to convert",
        "the model was left as it is");
  }

  // The target computes in float32 whatever the file says, and has no kernels for the type.
  bool stores_only() const {
    return options_.type == DataType::kBfloat16 && !options_.target->computes_bfloat16;
  }

  bool any_half() const {
    return std::ranges::any_of(plan_.decisions, [](const NodeDecision& d) { return d.integer; });
  }

  HalfOptions options_;
  HalfConstants constants_;
  std::shared_ptr<Model> prepared_;
  Preparation preparation_;
  HalfPlan plan_;
  HalfReport report_;
  QuantizedModel result_;
  bool measured_ = false;
};

}  // namespace

Result<std::unique_ptr<QuantizeMethod>> make_half_method(const QuantizeFlags& flags) {
  HalfOptions options;
  options.type = flags.to == "bf16" ? DataType::kBfloat16 : DataType::kFloat16;
  options.target = find_target(flags.target);
  options.keep_io_types = flags.keep_io_types;
  options.no_opset_change = flags.no_opset_change;
  ONNXTOOL_ASSIGN(options.include, Selection::parse(flags.include));
  ONNXTOOL_ASSIGN(options.exclude, Selection::parse(flags.exclude));
  return std::unique_ptr<QuantizeMethod>(std::make_unique<HalfMethod>(std::move(options)));
}

}  // namespace onnxtool
