// onnxtool diff: how far a test model is from its reference, and whether that is near enough.
#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "apps/command.h"
#include "apps/config.h"
#include "apps/diff_layers.h"
#include "apps/diff_report.h"
#include "apps/flags.h"
#include "apps/models.h"

namespace onnxtool {
namespace {

struct Options {
  std::string reference, test, data;
  std::vector<std::string> gates;
  std::optional<double> atol, rtol;
  int top_k = 5;
  bool kl = false;
  std::string per_layer;
  std::optional<double> layer_limit;
  std::string settings_file;  // empty: none
  DataFlags data_flags;
  CommonFlags common;
};

void add_flags(CLI::App& c, Options& o) {
  const std::string data = "Data", how = "Comparison";
  add_text(c, o.reference, {"REFERENCE", "FILE", "Model that is right (.onnx)", "Arguments"})
      ->required();
  add_text(c, o.test, {"TEST", "FILE", "Model to judge (.onnx)", "Arguments"})->required();
  add_list(c, o.gates,
           {"--gate", "[OUTPUT:]METRIC=LIMIT",
            "Fail beyond this limit, as in sqnr=30 or accuracy-drop=0.5 (default: by the types of "
            "both models)",
            how});
  add_magnitude(
      c, o.atol,
      {"--atol", "X",
       "Band |test - reference| <= ATOL + RTOL x |reference| (default: 1e-5; float16: 1e-3)", how});
  add_magnitude(c, o.rtol, {"--rtol", "X", "The same (default: 1e-3; float16: 1e-2)", how});
  add_integer(c, o.top_k, 1, 1000000,
              {"--topk", "K", "Length of the best lists that top-k compares", how});
  add_switch(c, o.kl, {"--kl", "", "Measure the divergence of the outputs' softmax, too", how});
  const std::string layers = "Layers";
  add_choice(c, o.per_layer,
             {"--per-layer", "local|cumulative|both",
              "Errors by layer: each fed the reference's values, or as they have grown up to there",
              layers});
  add_magnitude(
      c, o.layer_limit,
      {"--layer-limit", "DB",
       "SQNR below which a layer has diverged (default: 60; float16: 40, int8: 20)", layers});
  CLI::Option* path = add_text(
      c, o.data,
      {"--data", "PATH", "Samples: images, .npy, .npz, safetensors, test_data_set_N", data});
  add_data_flags(c, o.data_flags);
  path->excludes(c.get_option("--random"));
  add_common_flags(c, o.common);
  add_config_flags(c);
  c.footer(
      "Example: onnxtool diff model.onnx model.int8.onnx --data images/ --preprocess imagenet "
      "--gate sqnr=30");
}

class DiffCommand {
 public:
  DiffCommand(const Options& options, const Streams& streams)
      : o_(options), streams_(streams), progress_(streams, options.common.quiet) {}

  Result<int> run() {
    ONNXTOOL_TRY(parse());
    progress_.stage("load");
    ONNXTOOL_ASSIGN(reference_, open_model(o_.reference, o_.data_flags));
    ONNXTOOL_TRY(open_test());
    ONNXTOOL_ASSIGN(source_, open_samples(*reference_, o_.data, o_.data_flags));
    ONNXTOOL_ASSIGN(run_, run_options(o_.common, progress_, streams_));
    progress_.stage("compare");
    ONNXTOOL_ASSIGN(const std::vector<GateResult> gates, compare());
    if (!o_.per_layer.empty()) {
      progress_.stage("layers");
      const LayerRequest request{o_.per_layer, o_.layer_limit, rules_.reference, rules_.test};
      ONNXTOOL_ASSIGN(layers_, layers_section(reference_->graph(), test_->graph(), inputs_,
                                              *source_, run_, request));
    }
    progress_.finish();
    return report(gates);
  }

 private:
  Status parse() {
    ONNXTOOL_ASSIGN(targets_, report_targets(o_.common, false));
    if (o_.layer_limit && o_.per_layer.empty())
      return Error{ErrorCode::kUsage, "--layer-limit without --per-layer", "add --per-layer local"};
    if (o_.reference == "-" && o_.test == "-")
      return Error{ErrorCode::kUsage, "both models would come from stdin", "name one of the files"};
    for (const std::string& text : o_.gates) {
      ONNXTOOL_ASSIGN(Gate gate, parse_gate(text));
      rules_.given.push_back(std::move(gate));
    }
    std::vector<NamedPath> inputs = data_inputs(o_.data, o_.data_flags),
                           outputs = {{"the output", ""}};
    inputs.push_back({"REFERENCE", o_.reference});
    inputs.push_back({"TEST", o_.test});
    inputs.push_back({"--config", o_.settings_file});
    for (const ReportTarget& t : targets_) outputs.push_back({"--report", t.path});
    return check_files(inputs, outputs);
  }

  Status open_test() {
    ONNXTOOL_ASSIGN(test_, open_second_model(o_.test, o_.data_flags));
    ONNXTOOL_ASSIGN(inputs_, pair_inputs(reference_->graph(), test_->graph()));
    rules_.reference = kind_of(*reference_);
    rules_.test = kind_of(*test_);
    band_ = default_band(rules_.reference, rules_.test);
    rules_.band_given = o_.atol || o_.rtol;
    band_ = {o_.atol.value_or(band_.atol), o_.rtol.value_or(band_.rtol)};
    return {};
  }

  bool asks_for(Metric metric) const {
    return std::any_of(rules_.given.begin(), rules_.given.end(),
                       [&](const Gate& g) { return g.metric == metric; });
  }

  Result<std::unique_ptr<Side>> open_side(const Model& model, const std::string& path,
                                          const InputPairing* inputs) const {
    auto side = open_model_side(model.graph(), {}, inputs, run_,
                                Parallelism::of(source_->size(), run_.threads));
    if (!side.ok()) return std::move(side).error().at(path);
    return side;
  }

  Result<std::vector<GateResult>> compare() {
    const Parallelism parallelism = Parallelism::of(source_->size(), run_.threads);
    ONNXTOOL_ASSIGN(const auto reference, open_side(*reference_, o_.reference, nullptr));
    ONNXTOOL_ASSIGN(const auto test, open_side(*test_, o_.test, &inputs_));
    pairing_ = pair_outputs(reference->outputs(), test->outputs());
    ComparisonOptions options;
    options.metrics.atol = band_.atol;
    options.metrics.rtol = band_.rtol;
    options.metrics.top_k = o_.top_k;
    options.metrics.kl = o_.kl || asks_for(Metric::kKl) || asks_for(Metric::kKlMax);
    // A model in other floats keeps its meaning; the report says where its outputs have another
    // type.
    options.metrics.allow_dtype_change = true;
    const bool wants_accuracy = std::any_of(rules_.given.begin(), rules_.given.end(),
                                            [](const Gate& g) { return !g.metric; });
    if (wants_accuracy && !source_->has_labels())
      return Error{ErrorCode::kUsage, "--gate accuracy-drop: the samples have no labels",
                   "give class directories or --labels FILE"};
    options.labelled = source_->has_labels() && (wants_accuracy || scores_classes(*reference));
    ONNXTOOL_ASSIGN(comparison_, compare_sides(*reference, *test, pairing_, *source_, parallelism,
                                               run_, options));
    std::vector<DataType> types;
    for (size_t i = 0; i < pairing_.pairs.size(); ++i) {
      const DataType a = reference->outputs()[pairing_.pairs[i].reference].dtype,
                     b = test->outputs()[pairing_.pairs[i].test].dtype;
      const bool floating = comparison_.outputs[i].second.total().all.floating;
      types.push_back(a != DataType::kUndefined ? a
                      : floating                ? DataType::kFloat
                                                : DataType::kInt64);
      if (a != b && is_float(a) && is_float(b))
        pairing_.notes.push_back(
            fmt::format("output '{}' is {}, but {} in the reference: compared as numbers",
                        comparison_.outputs[i].first, name(b), name(a)));
    }
    return judge(comparison_, rules_, types);
  }

  // Whether output 0 is one score per class, by its declared shape: labels are then worth a look.
  bool scores_classes(const Side& reference) const {
    if (reference.outputs().empty() || !is_float(reference.outputs()[0].dtype)) return false;
    const auto& shape = reference_->graph().outputs()[0]->type().shape;
    if (!shape) return false;
    int64_t wide = 0;
    for (const Dim& d : *shape) wide += d.value && *d.value > 1;
    return wide == 1;
  }

  Section models_section() const {
    Section s{"models", "Models", {}, {}, {}, false};
    const auto add = [&](const std::string& key, const std::string& path, ModelKind kind) {
      s.fields.push_back(
          {key, key, fmt::format("{} ({})", path, name(kind)), "", Audience::kPeople});
      s.fields.push_back({key, key, path, "", Audience::kPrograms});
      s.fields.push_back({key + "_kind", "", std::string(name(kind)), "", Audience::kPrograms});
    };
    add("reference", o_.reference, rules_.reference);
    add("test", o_.test, rules_.test);
    s.notes = inputs_.notes;
    s.notes.insert(s.notes.end(), pairing_.notes.begin(), pairing_.notes.end());
    return s;
  }

  Result<int> report(const std::vector<GateResult>& gates) {
    Report report;
    report.command = "diff";
    report.inputs = {o_.reference, o_.test};
    report.sections = {models_section(),
                       data_section(*source_, *reference_, "Data", "data",
                                    "random samples: errors on real data may differ"),
                       outputs_section(comparison_, *source_)};
    if (comparison_.accuracy.images())
      report.sections.push_back(accuracy_section(comparison_.accuracy));
    report.sections.push_back(gates_section(gates, band_));
    if (layers_) report.sections.push_back(*layers_);
    report.sections.push_back(timing_section(progress_));
    report.findings = comparison_findings(comparison_, pairing_, gates, *source_);
    Verdict verdict = gates.empty() ? Verdict::kNone : Verdict::kPass;
    for (const GateResult& g : gates) verdict = combine(verdict, g.verdict);
    if (!pairing_.missing.empty() || !pairing_.extra.empty()) verdict = Verdict::kFail;
    if (gates.empty() && report.findings.empty())
      report.findings.push_back(
          {"nothing-compared", "error", "the models have no outputs to compare", o_.reference, ""});
    Section result{"result", "Result", {}, {}, {}, false};
    result.fields.push_back({"verdict", "verdict",
                             std::string(verdict == Verdict::kPass   ? "pass: within every gate"
                                         : verdict == Verdict::kFail ? "FAIL"
                                                                     : "no answer"),
                             "", Audience::kPeople});
    result.fields.push_back({"verdict", "",
                             std::string(verdict == Verdict::kPass   ? "pass"
                                         : verdict == Verdict::kFail ? "fail"
                                                                     : "none"),
                             "", Audience::kPrograms});
    report.sections.push_back(std::move(result));
    report.exit_code = verdict == Verdict::kPass   ? 0
                       : verdict == Verdict::kNone ? 2
                       : o_.common.exit_zero       ? 0
                                                   : 1;
    report.status = verdict == Verdict::kPass   ? "ok"
                    : verdict == Verdict::kFail ? "negative"
                                                : "no-answer";
    ONNXTOOL_TRY(write_reports(report, targets_, o_.common, false, streams_));
    return report.exit_code;
  }

  const Options& o_;
  const Streams& streams_;
  Progress progress_;
  RunOptions run_;
  std::vector<ReportTarget> targets_;
  std::unique_ptr<Model> reference_, test_;
  std::unique_ptr<SampleSource> source_;
  InputPairing inputs_;
  OutputPairing pairing_;
  GateRules rules_;
  Band band_;
  ModelComparison comparison_;
  std::optional<Section> layers_;
};

Run add(CLI::App& command) {
  auto options = std::make_shared<Options>();
  add_flags(command, *options);
  CLI::App* app = &command;
  return [options, app](const Streams& streams) -> Result<int> {
    options->settings_file = settings_file(*app);
    return DiffCommand(*options, streams).run();
  };
}

}  // namespace

extern constinit const CommandInfo kDiffCommand{
    "diff", "Compare two models on the same samples, by metrics, gates and layers", add};

}  // namespace onnxtool
