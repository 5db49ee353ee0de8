// onnxtool diff: how far a test model is from its reference, and whether that is near enough.
#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "apps/command.h"
#include "apps/config.h"
#include "apps/device_fallback.h"
#include "apps/diff_bisect.h"
#include "apps/diff_golden.h"
#include "apps/diff_layers.h"
#include "apps/diff_options.h"
#include "apps/diff_report.h"
#include "apps/diff_structure.h"
#include "apps/flags.h"
#include "apps/models.h"
#include "calib/compare/floating.h"
#include "calib/compare/golden.h"
#include "calib/data/files.h"
#include "calib/kernels/cpu/saturation.h"

namespace onnxtool {
namespace {

class DiffCommand {
 public:
  DiffCommand(const DiffOptions& options, const Streams& streams)
      : o_(options), streams_(streams), progress_(streams, options.common.quiet) {}

  Result<int> run() {
    ONNXTOOL_TRY(parse());
    if (o_.structure)
      return diff_structure(paths_.reference, paths_.test, o_.common, targets_, streams_);
    if (!o_.record.empty()) return record();
    progress_.stage("load");
    ONNXTOOL_TRY(paths_.golden.empty() ? open_reference() : open_set());
    ONNXTOOL_TRY(open_test());
    ONNXTOOL_ASSIGN(run_, run_options(o_.common, progress_, streams_));
    test_run_ = run_;
    if (!o_.simulate.empty())
      test_run_.kernel_sets.insert(test_run_.kernel_sets.begin(), &cpu_kernel_set_no_vnni());
    progress_.stage("compare");
    ONNXTOOL_ASSIGN(const std::vector<GateResult> gates, compare());
    if (!o_.per_layer.empty()) {
      progress_.stage("layers");
      const LayerRequest request{o_.per_layer, o_.layer_limit, rules_.reference, rules_.test,
                                 test_run_.kernel_sets};
      ONNXTOOL_ASSIGN(LayersFound found, layers_section(reference_->graph(), test_->graph(),
                                                        inputs_, *source_, run_, request));
      if (!o_.bisect.empty()) ONNXTOOL_TRY(bisect(found));
      layers_ = std::move(found.section);
    }
    progress_.finish();
    return report(gates);
  }

 private:
  Status bisect(LayersFound& found) {
    if (!found.first) {
      found.section.notes.push_back("no layer diverged: --bisect wrote nothing");
      return {};
    }
    progress_.stage("bisect");
    RunOptions run = run_, test_run = test_run_;
    run.progress = test_run.progress = nullptr;
    ONNXTOOL_ASSIGN(const IsolatedLayer layer,
                    isolate_layer(*test_, reference_->graph(), found.pairs, *found.first, inputs_,
                                  *source_, run, test_run));
    return write_first_divergence(layer, o_.bisect, o_.force, found.section);
  }

  Status parse() {
    ONNXTOOL_ASSIGN(targets_, report_targets(o_.common, false));
    ONNXTOOL_ASSIGN(paths_, diff_paths(o_));
    if (o_.layer_limit && o_.per_layer.empty())
      return Error{ErrorCode::kUsage, "--layer-limit without --per-layer", "add --per-layer local"};
    if (!o_.bisect.empty() && (o_.per_layer.empty() || o_.per_layer == "cumulative"))
      return Error{ErrorCode::kUsage, "--bisect needs the error that each layer makes itself",
                   "add --per-layer local"};
    if (paths_.reference == "-" && paths_.test == "-")
      return Error{ErrorCode::kUsage, "both models would come from stdin", "name one of the files"};
    for (const std::string& text : o_.gates) {
      ONNXTOOL_ASSIGN(Gate gate, parse_gate(text));
      rules_.given.push_back(std::move(gate));
    }
    std::vector<NamedPath> inputs = data_inputs(o_.data, o_.data_flags),
                           outputs = {{"the output", ""}};
    inputs.push_back({"REFERENCE", paths_.reference});
    inputs.push_back({"TEST", paths_.test});
    inputs.push_back({"--golden", paths_.golden});
    inputs.push_back({"--config", o_.settings_file});
    for (const ReportTarget& t : targets_) outputs.push_back({"--report", t.path});
    if (!o_.bisect.empty()) ONNXTOOL_TRY(check_output_directory("--bisect", o_.bisect, inputs));
    return check_files(inputs, outputs);
  }

  Status open_reference() {
    ONNXTOOL_ASSIGN(reference_, open_model(paths_.reference, o_.data_flags));
    rules_.reference = kind_of(*reference_);
    if (paths_.test_is_set) return {};  // which has the samples
    ONNXTOOL_ASSIGN(source_, open_samples(*reference_, o_.data, o_.data_flags));
    sample_inputs_ = inputs_of(reference_->graph());
    return {};
  }

  Status open_set() {
    auto opened = open_golden(paths_.golden);
    if (!opened.ok()) return std::move(opened).error();
    golden_ = std::move(opened->golden);
    source_ = std::move(opened->source);
    recorded_ = std::move(opened->side);
    sample_inputs_ = inputs_of(golden_);
    rules_.reference = kind_of(golden_);
    ONNXTOOL_TRY(add_recorded_gates());
    if (o_.accept) ONNXTOOL_TRY(require_own_files(golden_, paths_.golden));
    if (paths_.reference.empty()) return {};
    ONNXTOOL_ASSIGN(reference_, open_model(paths_.reference, o_.data_flags));
    return require_recorded_from(golden_, paths_.golden, *reference_, paths_.reference);
  }

  // The set's gates hold beside those of the command line, which replace only their like.
  Status add_recorded_gates() {
    std::vector<Gate> recorded;
    for (const std::string& text : golden_.gates) {
      auto gate = parse_gate(text);
      if (!gate.ok()) return std::move(gate).error().at(paths_.golden + "/golden.toml");
      const auto like =
          std::find_if(rules_.given.begin(), rules_.given.end(), [&](const Gate& given) {
            return given.output == gate->output && given.metric == gate->metric;
          });
      if (like == rules_.given.end())
        recorded.push_back(*std::move(gate));
      else if (like->limit != gate->limit)
        gate_notes_.push_back(
            fmt::format("the golden set asks for {}: replaced by --gate {}", text, like->text()));
    }
    rules_.given.insert(rules_.given.begin(), recorded.begin(), recorded.end());
    return {};
  }

  static std::vector<InputInfo> inputs_of(const Golden& golden) {
    std::vector<InputInfo> out;
    for (const GoldenTensor& t : golden.inputs) out.push_back({t.name, ValueType::tensor(t.dtype)});
    return out;
  }
  static std::vector<InputInfo> inputs_of(const Graph& graph) { return onnxtool::inputs_of(graph); }

  static ModelKind kind_of(const Golden& golden) {
    for (const ModelKind k : {ModelKind::kFloat, ModelKind::kHalf, ModelKind::kQuantized})
      if (golden.model_kind == name(k)) return k;
    return ModelKind::kFloat;
  }
  static ModelKind kind_of(const Model& model) { return onnxtool::kind_of(model); }

  // Recorded outputs are judged. Where a model alone is the reference, it runs on their samples; a
  // recorded reference has its own, which must be the same.
  Status open_judged_set() {
    ONNXTOOL_ASSIGN(OpenGolden judged, open_golden(paths_.test));
    rules_.test = kind_of(judged.golden);
    if (reference_ && !recorded_) {
      sample_inputs_ = inputs_of(judged.golden);
      auto inputs = pair_inputs(sample_inputs_, reference_->graph());
      if (!inputs.ok()) return std::move(inputs).error().at(paths_.reference);
      reference_inputs_ = *std::move(inputs);
      ONNXTOOL_ASSIGN(OpenGolden again, open_golden(paths_.test));
      source_ = std::move(again.source);
    } else if (judged.source->size() != source_->size()) {
      return Error{ErrorCode::kMismatch,
                   fmt::format("{} has {} samples, {} has {}", paths_.golden, source_->size(),
                               paths_.test, judged.source->size()),
                   "record both sets on the same data"};
    }
    judged_ = judged_side(std::move(judged));
    return {};
  }

  Status open_test() {
    if (paths_.test_is_set) {
      ONNXTOOL_TRY(open_judged_set());
      settle_band();
      return {};
    }
    if (reference_) {
      ONNXTOOL_ASSIGN(test_, open_second_model(paths_.test, o_.data_flags));
    } else {
      ONNXTOOL_ASSIGN(test_, open_model(paths_.test, o_.data_flags));
    }
    auto inputs = pair_inputs(sample_inputs_, test_->graph());
    if (!inputs.ok()) return std::move(inputs).error().at(paths_.test);
    inputs_ = *std::move(inputs);
    rules_.test = kind_of(*test_);
    settle_band();
    return {};
  }

  void settle_band() {
    const auto atol = o_.atol ? o_.atol : golden_.atol, rtol = o_.rtol ? o_.rtol : golden_.rtol;
    band_ = default_band(rules_.reference, rules_.test);
    rules_.band_given = atol || rtol;
    band_ = {atol.value_or(band_.atol), rtol.value_or(band_.rtol)};
  }

  // --record: the reference's answers are kept.
  Result<int> record() {
    std::vector<NamedPath> inputs = data_inputs(o_.data, o_.data_flags);
    inputs.push_back({"REFERENCE", paths_.reference});
    inputs.push_back({"--config", o_.settings_file});
    ONNXTOOL_TRY(check_output_directory("--record", o_.record, inputs));
    progress_.stage("load");
    ONNXTOOL_TRY(open_reference());
    std::vector<OutputInfo> outputs;
    for (const Value* v : reference_->graph().outputs())
      outputs.push_back({v->name(), v->type().dtype});
    ONNXTOOL_TRY(check_gates(rules_.given, outputs));
    if (auto labels = wants_labels(); !labels.ok()) return std::move(labels).error();
    ONNXTOOL_ASSIGN(run_, run_options(o_.common, progress_, streams_));
    const SourceDescription d = source_->describe();
    Golden about;
    about.model = file_name(paths_.reference == "-" ? "stdin" : paths_.reference);
    about.model_kind = name(rules_.reference);
    about.data_format = d.format;
    about.preprocess = d.preprocess;
    if (d.random) about.seed = d.seed;
    about.gates = o_.gates;
    about.form = o_.record_format == "pb" ? GoldenForm::kTestData : GoldenForm::kSafetensors;
    about.atol = o_.atol;
    about.rtol = o_.rtol;
    progress_.stage("record");
    ONNXTOOL_TRY(write_golden_set(*reference_, *source_, run_, about, o_.record, o_.force));
    progress_.finish();
    Report report;
    report.command = "diff";
    report.inputs = {paths_.reference};
    report.sections = {samples_section(), golden_section(about, o_.record),
                       timing_section(progress_)};
    return write_reports(report, targets_, o_.common, false, streams_);
  }

  // Whether accuracy is judged; kUsage where it cannot be.
  Result<bool> wants_labels() const {
    const bool wants = std::any_of(rules_.given.begin(), rules_.given.end(),
                                   [](const Gate& g) { return !g.metric; });
    if (wants && !source_->has_labels())
      return Error{ErrorCode::kUsage, "--gate accuracy-drop: the samples have no labels",
                   "give class directories or --labels FILE"};
    return wants;
  }

  bool asks_for(Metric metric) const {
    return std::any_of(rules_.given.begin(), rules_.given.end(),
                       [&](const Gate& g) { return g.metric == metric; });
  }

  Result<std::unique_ptr<Side>> open_side(const Model& model, const std::string& path,
                                          const InputPairing* inputs) const {
    auto side = open_model_side(model.graph(), {}, inputs, &model == test_.get() ? test_run_ : run_,
                                Parallelism::of(source_->size(), run_.threads));
    if (!side.ok()) return std::move(side).error().at(path);
    return side;
  }

  Result<std::vector<GateResult>> compare() {
    const Parallelism parallelism = Parallelism::of(source_->size(), run_.threads);
    std::unique_ptr<Side> reference = std::move(recorded_);
    if (!reference) {
      ONNXTOOL_ASSIGN(reference, open_side(*reference_, paths_.reference,
                                           reference_inputs_ ? &*reference_inputs_ : nullptr));
    }
    std::unique_ptr<Side> test = std::move(judged_);
    if (!test) {
      ONNXTOOL_ASSIGN(test, open_side(*test_, paths_.test, &inputs_));
    }
    // An output that the test side lacks is judged by that, whatever its gates.
    ONNXTOOL_TRY(check_gates(rules_.given, reference->outputs()));
    pairing_ = pair_outputs(reference->outputs(), test->outputs());
    ComparisonOptions options;
    options.metrics.atol = band_.atol;
    options.metrics.rtol = band_.rtol;
    options.wider_for_halves = !rules_.band_given;
    options.metrics.top_k = o_.top_k;
    options.metrics.kl = o_.kl || asks_for(Metric::kKl) || asks_for(Metric::kKlMax);
    // A model in other floats keeps its meaning; the report says where its outputs have another
    // type.
    options.metrics.allow_dtype_change = true;
    ONNXTOOL_ASSIGN(const bool wants_accuracy, wants_labels());
    options.labelled = source_->has_labels() && (wants_accuracy || scores_classes(*reference));
    ONNXTOOL_ASSIGN(comparison_, compare_sides(*reference, *test, pairing_, *source_, parallelism,
                                               run_, options));
    std::vector<DataType> types;
    for (size_t i = 0; i < pairing_.pairs.size(); ++i) {
      const DataType a = reference->outputs()[pairing_.pairs[i].reference].dtype,
                     b = test->outputs()[pairing_.pairs[i].test].dtype;
      const bool floating = comparison_.outputs[i].second.total().all.floating;
      const bool both_floats = is_any_float(a) && is_any_float(b);
      types.push_back(both_floats && bits_of(b) < bits_of(a) ? b
                      : a != DataType::kUndefined            ? a
                      : floating                             ? DataType::kFloat
                                                             : DataType::kInt64);
      if ((is_half(a) || is_half(b)) && !rules_.band_given &&
          rules_.reference == ModelKind::kFloat && rules_.test == ModelKind::kFloat)
        pairing_.notes.push_back(
            fmt::format("output '{}' is {}: its band is 0.001 + 0.01 x |reference|",
                        comparison_.outputs[i].first, name(is_half(a) ? a : b)));
      if (a != b && is_any_float(a) && is_any_float(b))
        pairing_.notes.push_back(
            fmt::format("output '{}' is {}, but {} in the reference: compared as numbers",
                        comparison_.outputs[i].first, name(b), name(a)));
    }
    return judge(comparison_, rules_, types);
  }

  // Whether output 0 is one score per class, by its declared shape: labels are then worth a look.
  bool scores_classes(const Side& reference) const {
    if (reference.outputs().empty() || !is_float(reference.outputs()[0].dtype)) return false;
    if (!reference_ && !test_) return false;
    const Model& model = reference_ ? *reference_ : *test_;
    if (model.graph().outputs().empty()) return false;
    const auto& shape = model.graph().outputs()[0]->type().shape;
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
    add("reference", paths_.golden.empty() ? paths_.reference : paths_.golden, rules_.reference);
    add("test", paths_.test, rules_.test);
    if (!o_.simulate.empty()) s.fields.push_back({"simulate", "simulated", o_.simulate, ""});
    s.notes = inputs_.notes;
    if (reference_inputs_) s.notes = reference_inputs_->notes;
    s.notes.insert(s.notes.end(), pairing_.notes.begin(), pairing_.notes.end());
    return s;
  }

  Result<int> report(const std::vector<GateResult>& gates) {
    Report report;
    report.command = "diff";
    report.inputs = {paths_.golden.empty() ? paths_.reference : paths_.golden, paths_.test};
    report.sections = {models_section(), samples_section(), outputs_section(comparison_, *source_)};
    if (!paths_.golden.empty()) report.sections.push_back(golden_section(golden_, paths_.golden));
    if (comparison_.accuracy.images())
      report.sections.push_back(accuracy_section(comparison_.accuracy));
    report.sections.push_back(gates_section(gates, band_));
    auto& notes = report.sections.back().notes;
    notes.insert(notes.end(), gate_notes_.begin(), gate_notes_.end());
    if (layers_) report.sections.push_back(*layers_);
    report.sections.push_back(timing_section(progress_));
    report.checks = gate_checks(gates);
    report.findings = comparison_findings(comparison_, pairing_, gates, *source_,
                                          reference_ != nullptr && test_ != nullptr);
    Verdict verdict = gates.empty() ? Verdict::kNone : Verdict::kPass;
    for (const GateResult& g : gates) verdict = combine(verdict, g.verdict);
    if (!pairing_.missing.empty() || !pairing_.extra.empty()) verdict = Verdict::kFail;
    if (gates.empty() && report.findings.empty())
      report.findings.push_back(
          {"nothing-compared", "error", "the models have no outputs to compare", paths_.test, ""});
    Section result{"result", "Result", {}, {}, {}, false};
    const bool accepted = o_.accept && verdict != Verdict::kNone;
    const std::string seen = verdict == Verdict::kPass   ? "pass: within every gate"
                             : verdict == Verdict::kFail ? "FAIL"
                                                         : "no answer";
    result.fields.push_back({"verdict", "verdict",
                             accepted ? "the set was replaced; against the old one: " + seen : seen,
                             "", Audience::kPeople});
    result.fields.push_back({"verdict", "",
                             std::string(verdict == Verdict::kPass   ? "pass"
                                         : verdict == Verdict::kFail ? "fail"
                                                                     : "none"),
                             "", Audience::kPrograms});
    report.sections.push_back(std::move(result));
    report.answer = verdict == Verdict::kPass   ? Answer::kYes
                    : verdict == Verdict::kFail ? Answer::kNo
                                                : Answer::kNone;
    ONNXTOOL_CHECK(report.answer != Answer::kYes ||
                   std::none_of(report.findings.begin(), report.findings.end(),
                                [](const Finding& f) { return f.severity == "error"; }));
    if (accepted) {
      ONNXTOOL_TRY(accept());
      report.answer = Answer::kYes;
      report.findings.push_back({"accepted", "note",
                                 "the recorded outputs are now those of " + paths_.test,
                                 paths_.golden, ""});
    }
    return write_reports(report, targets_, o_.common, false, streams_);
  }

  Section samples_section() const {
    std::vector<InputSpec> specs;
    for (const InputInfo& i : sample_inputs_) specs.push_back({i.name, i.type.dtype, {}, false});
    return data_section(*source_, specs, "Data", "data",
                        "random samples: errors on real data may differ");
  }

  Status accept() {
    ONNXTOOL_TRY(require_same_inputs(inputs_, sample_inputs_.size(), paths_.test));
    golden_.model = file_name(paths_.test);
    golden_.model_kind = name(rules_.test);
    run_.progress = nullptr;
    return write_golden_set(*test_, *source_, run_, golden_, paths_.golden, true);
  }

  const DiffOptions& o_;
  const Streams& streams_;
  Progress progress_;
  RunOptions run_, test_run_;
  std::vector<ReportTarget> targets_;
  std::unique_ptr<Model> reference_, test_;
  std::unique_ptr<SampleSource> source_;
  InputPairing inputs_;                           // of the test model
  std::optional<InputPairing> reference_inputs_;  // where the samples are not in its own order
  OutputPairing pairing_;
  GateRules rules_;
  std::vector<std::string> gate_notes_;
  Band band_;
  ModelComparison comparison_;
  std::optional<Section> layers_;
  DiffPaths paths_;
  std::vector<InputInfo> sample_inputs_;
  Golden golden_;
  std::unique_ptr<Side> recorded_, judged_;  // outputs of golden sets
};

Run add(CLI::App& command) {
  auto options = std::make_shared<DiffOptions>();
  add_diff_flags(command, *options);
  CLI::App* app = &command;
  return [options, app](const Streams& streams) -> Result<int> {
    options->settings_file = settings_file(*app);
    return run_on_device<DiffCommand>(*options, streams);
  };
}

}  // namespace

extern constinit const CommandInfo kDiffCommand{
    "diff", "Compare two models on the same samples, by metrics, gates and layers", add};

}  // namespace onnxtool
