// --weight-only: weights as 4- or 8-bit integers, activations as they are.
#include <fmt/format.h>

#include <map>

#include "apps/quantize_method.h"
#include "apps/quantize_report.h"
#include "calib/compare/kept_reference.h"
#include "libopt/support/temporary.h"
#include "libopt/target/target.h"
#include "quant/accuracy_target.h"
#include "quant/nbits_products.h"
#include "quant/weight_only.h"

namespace onnxtool {
namespace {

// Samples on which --awq is judged.
constexpr int64_t kCompared = 16;

class WeightOnlyMethod final : public QuantizeMethod {
 public:
  WeightOnlyMethod(const QuantizeFlags& flags, WeightOnlyOptions options)
      : o_(flags), options_(std::move(options)) {}

  std::string suffix() const override { return fmt::format(".int{}.onnx", options_.bits); }
  bool needs_samples() const override { return options_.gptq || options_.awq; }

  Status check(const Model& model) const override {
    ONNXTOOL_TRY(options_.include.check(model));
    return options_.exclude.check(model);
  }

  Status decide(const QuantizeContext& c) override {
    ONNXTOOL_ASSIGN(plan_, plan_weight_only(c.original.clone(), options_));
    return {};
  }

  Status quantize(const QuantizeContext& c) override {
    c.progress.stage("quantize");
    // Beside the output, where there is room for it; a pipe's results stay in memory.
    if (c.output != "-" && c.original.had_external_data) {
      ONNXTOOL_ASSIGN(options_.scratch, ScratchFile::create(directory_of(c.output)));
    }
    options_.progress = c.run.progress;
    if (needs_samples()) options_.calibration = {c.calibration, c.calibration_run};
    ONNXTOOL_TRY(quantize_weights_only(*plan_, options_));
    return options_.awq ? drop_scaling_if_worse(c) : Status();
  }

  std::vector<Setting> decided(const Model& /*original*/) const override {
    if (!scaling_dropped_) return {};
    return {{"awq", {}}};
  }

  void run_as_target(Model& loaded) const override {
    if (!options_.operators && find_target(o_.target)->is_onnxruntime)
      put_nbits_products(loaded.graph());
  }

  QuantizedModel& result() override { return *plan_; }
  const Preparation& preparation() const override { return plan_->preparation; }

  Section section() const override {
    Section s{"quantization", "Quantization", {}, {}, {}, false};
    NodeTables tables = node_tables(plan_->decisions);
    s.fields.push_back({"mode", "mode", std::string("weight-only"), ""});
    s.fields.push_back({"quantized_nodes", "nodes with integer weights", tables.quantized, ""});
    s.fields.push_back({"float_nodes", "nodes with float weights", tables.in_float, ""});
    s.notes = plan_->notes;
    if (!plan_->weights.empty()) add_weights(s);
    s.tables.push_back(std::move(tables.why));
    s.tables.push_back(std::move(tables.nodes));
    return s;
  }

 private:
  // Channels are scaled by a prediction for each product: what came of it is compared with the
  // model without it.
  Status drop_scaling_if_worse(const QuantizeContext& c) {
    c.progress.stage("quantize without scaling");
    WeightOnlyOptions plain = options_;
    plain.awq = false;
    ONNXTOOL_ASSIGN(WeightOnlyModel without, plan_weight_only(c.original.clone(), plain));
    ONNXTOOL_TRY(quantize_weights_only(without, plain));
    RunOptions quiet = c.run;
    quiet.progress = nullptr;
    const SpreadSamples some(*c.calibration, kCompared);
    KeptReference reference(plan_->reference->graph(), some, quiet);
    const auto sqnr = [&](const WeightOnlyModel& m) -> Result<double> {
      ONNXTOOL_ASSIGN(const ModelComparison compared,
                      reference.compare(m.model->graph(), some.size(), {}));
      return worst_sqnr(compared);
    };
    ONNXTOOL_ASSIGN(const double with_db, sqnr(*plan_));
    ONNXTOOL_ASSIGN(const double without_db, sqnr(without));
    scaling_dropped_ = with_db <= without_db;
    const std::string figures =
        fmt::format("with that {:.2f} dB, without {:.2f} dB", with_db, without_db);
    if (scaling_dropped_) {
      *plan_ = std::move(without);
      plan_->notes.push_back("channels are not scaled: " + figures);
    } else {
      plan_->notes.push_back("scaling of channels kept: " + figures);
    }
    return {};
  }

  void add_weights(Section& s) const {
    int64_t before = 0, after = 0;
    Table t{"weights",
            "weights with the largest error",
            {{"weight", "weight", ""},
             {"bits", "bits", ""},
             {"block", "block", ""},
             {"bytes_before", "before", "bytes"},
             {"bytes_after", "after", "bytes"},
             {"sqnr_db", "SQNR", "dB"}},
            {},
            5};
    if (options_.gptq) {
      t.columns.push_back({"nearest_output_db", "outputs, nearest codes", "dB"});
      t.columns.push_back({"output_db", "chosen codes", "dB"});
    }
    std::vector<QuantizedWeight> sorted = plan_->weights;
    std::ranges::stable_sort(sorted, {}, &QuantizedWeight::sqnr_db);
    for (const QuantizedWeight& w : sorted) {
      before += w.bytes_before;
      after += w.bytes_after;
      t.rows.push_back(
          {w.name, int64_t{w.bits}, w.block, w.bytes_before, w.bytes_after, w.sqnr_db});
      if (!options_.gptq) continue;
      t.rows.back().push_back(w.nearest_output_db);
      t.rows.back().push_back(w.output_db);
    }
    s.fields.push_back({"weight_bytes_before", "their weights before", before, "bytes"});
    s.fields.push_back({"weight_bytes_after", "their weights after", after, "bytes"});
    s.tables.push_back(std::move(t));
  }

  const QuantizeFlags& o_;
  WeightOnlyOptions options_;
  std::optional<WeightOnlyModel> plan_;
  bool scaling_dropped_ = false;
};

// A power of two that the operators have kernels for.
Status check_block(int64_t block) {
  if (block >= 16 && block <= 256 && (block & (block - 1)) == 0) return {};
  return Error{ErrorCode::kUsage, fmt::format("--block-size: {} is no block size", block),
               "there are 16, 32, 64, 128 and 256"};
}

}  // namespace

Result<std::unique_ptr<QuantizeMethod>> make_weight_only_method(const QuantizeFlags& flags) {
  if (flags.given.contains("--block-size")) ONNXTOOL_TRY(check_block(flags.block_size));
  WeightOnlyOptions options;
  const bool onnxruntime = find_target(flags.target)->is_onnxruntime;
  if (flags.format == "qoperator" && !onnxruntime)
    return Error{ErrorCode::kUsage,
                 "--weight-only: --target " + flags.target + " has no operators of com.microsoft",
                 "leave out --format"};
  options.operators = onnxruntime && flags.format != "qdq";
  if (flags.weight_type != "s8" && flags.weight_type != "u8" && flags.weight_type != "s4" &&
      flags.weight_type != "u4")
    return Error{ErrorCode::kUsage,
                 "--weight-only: weights of type " + flags.weight_type + " run in no kernel",
                 "there are s4, u4, s8 and u8"};
  options.is_signed = flags.weight_type.starts_with('s');
  options.bits = flags.weight_type.ends_with('4') ? 4 : 8;
  options.symmetric = options.is_signed || flags.symmetric;
  options.block = flags.block_size;
  options.accuracy_level = flags.accuracy_level;
  options.gptq = flags.gptq;
  options.awq = flags.awq;
  options.no_opset_change = flags.no_opset_change;
  ONNXTOOL_ASSIGN(options.include, Selection::parse(flags.include));
  ONNXTOOL_ASSIGN(options.exclude, Selection::parse(flags.exclude));
  return std::unique_ptr<QuantizeMethod>(
      std::make_unique<WeightOnlyMethod>(flags, std::move(options)));
}

}  // namespace onnxtool
