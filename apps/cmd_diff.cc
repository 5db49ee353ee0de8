// onnxtool diff: how far a test model is from its reference, and whether that is near enough.
#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "apps/command.h"
#include "apps/config.h"
#include "apps/diff_bisect.h"
#include "apps/diff_layers.h"
#include "apps/diff_report.h"
#include "apps/diff_structure.h"
#include "apps/flags.h"
#include "apps/models.h"
#include "calib/compare/golden.h"
#include "calib/data/files.h"

namespace onnxtool {
namespace {

struct Options {
  std::string reference, test, data;
  std::string golden, record;
  bool accept = false, force = false, structure = false;
  std::vector<std::string> gates;
  std::optional<double> atol, rtol;
  int top_k = 5;
  bool kl = false;
  std::string per_layer, bisect;
  std::optional<double> layer_limit;
  std::string settings_file;  // empty: none
  DataFlags data_flags;
  CommonFlags common;
};

void add_flags(CLI::App& c, Options& o) {
  const std::string data = "Data", how = "Comparison";
  add_text(c, o.reference,
           {"REFERENCE", "FILE", "Model that is right (.onnx), or a golden set", "Arguments"})
      ->required();
  add_text(c, o.test, {"TEST", "FILE", "Model to judge (.onnx)", "Arguments"});
  add_list(
      c, o.gates,
      {"--gate", "GATE",
       "Fail beyond [OUTPUT:]METRIC=LIMIT, as in sqnr=30 or accuracy-drop=0.5 (default: by the "
       "types of both models)",
       how});
  add_magnitude(
      c, o.atol,
      {"--atol", "X",
       "Band |test - reference| <= ATOL + RTOL x |reference| (default: 1e-5; float16: 1e-3)", how});
  add_magnitude(c, o.rtol, {"--rtol", "X", "The same (default: 1e-3; float16: 1e-2)", how});
  add_integer(c, o.top_k, 1, 1000000,
              {"--topk", "K", "Length of the best lists that top-k compares", how});
  add_switch(c, o.kl, {"--kl", "", "Measure the divergence of the outputs' softmax, too", how});
  add_switch(
      c, o.structure,
      {"--structure", "",
       "Compare the graphs, names ignored, and run nothing; a model alone is printed as lines",
       how});
  const std::string layers = "Layers";
  add_choice(c, o.per_layer,
             {"--per-layer", "local|cumulative|both",
              "Errors by layer: each fed the reference's values, or as they have grown up to there",
              layers});
  add_magnitude(
      c, o.layer_limit,
      {"--layer-limit", "DB",
       "SQNR below which a layer has diverged (default: 60; float16: 40, int8: 20)", layers});
  add_text(c, o.bisect,
           {"--bisect", "DIR",
            "Write the first layer that diverged as a model of its own with what it is fed, as "
            "test_data_set_0, to DIR",
            layers});
  const std::string golden = "Golden sets";
  CLI::Option* record = add_text(
      c, o.record,
      {"--record", "DIR",
       "Run REFERENCE and keep samples, outputs and gates in DIR, to compare with later", golden});
  add_switch(c, o.force,
             {"--force", "", "Let --record and --bisect replace a directory and all that it holds",
              golden});
  add_text(c, o.golden,
           {"--golden", "DIR",
            "Compare with a recorded set; with two models, the first must be the one it was "
            "recorded from",
            golden})
      ->excludes(record);
  add_switch(
      c, o.accept,
      {"--accept", "", "Replace the recorded outputs by those of the model, after review", golden})
      ->excludes(record);
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
    if (o_.structure)
      return diff_structure(reference_path_, test_path_, o_.common, targets_, streams_);
    if (!o_.record.empty()) return record();
    progress_.stage("load");
    ONNXTOOL_TRY(golden_path_.empty() ? open_reference() : open_set());
    ONNXTOOL_TRY(open_test());
    ONNXTOOL_ASSIGN(run_, run_options(o_.common, progress_, streams_));
    progress_.stage("compare");
    ONNXTOOL_ASSIGN(const std::vector<GateResult> gates, compare());
    if (!o_.per_layer.empty()) {
      progress_.stage("layers");
      const LayerRequest request{o_.per_layer, o_.layer_limit, rules_.reference, rules_.test};
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
    RunOptions run = run_;
    run.progress = nullptr;
    ONNXTOOL_ASSIGN(const IsolatedLayer layer,
                    isolate_layer(*test_, reference_->graph(), found.pairs, *found.first, inputs_,
                                  *source_, run));
    return write_first_divergence(layer, o_.bisect, o_.force, found.section);
  }

  Status parse() {
    ONNXTOOL_ASSIGN(targets_, report_targets(o_.common, false));
    ONNXTOOL_TRY(resolve_arguments());
    if (o_.layer_limit && o_.per_layer.empty())
      return Error{ErrorCode::kUsage, "--layer-limit without --per-layer", "add --per-layer local"};
    if (!o_.bisect.empty() && (o_.per_layer.empty() || o_.per_layer == "cumulative"))
      return Error{ErrorCode::kUsage, "--bisect needs the error that each layer makes itself",
                   "add --per-layer local"};
    if (reference_path_ == "-" && test_path_ == "-")
      return Error{ErrorCode::kUsage, "both models would come from stdin", "name one of the files"};
    for (const std::string& text : o_.gates) {
      ONNXTOOL_ASSIGN(Gate gate, parse_gate(text));
      rules_.given.push_back(std::move(gate));
    }
    std::vector<NamedPath> inputs = data_inputs(o_.data, o_.data_flags),
                           outputs = {{"the output", ""}};
    inputs.push_back({"REFERENCE", reference_path_});
    inputs.push_back({"TEST", test_path_});
    inputs.push_back({"--golden", golden_path_});
    inputs.push_back({"--config", o_.settings_file});
    for (const ReportTarget& t : targets_) outputs.push_back({"--report", t.path});
    if (!o_.bisect.empty()) ONNXTOOL_TRY(check_output_directory("--bisect", o_.bisect, inputs));
    return check_files(inputs, outputs);
  }

  // Which of the arguments is which: a golden set may stand for the reference.
  Status resolve_arguments() {
    const auto usage = [](const std::string& what, const std::string& hint) {
      return Error{ErrorCode::kUsage, what, hint};
    };
    reference_path_ = o_.reference;
    test_path_ = o_.test;
    golden_path_ = o_.golden;
    if (o_.structure) {
      const bool runs = !o_.data.empty() || o_.data_flags.random || !o_.golden.empty() ||
                        !o_.record.empty() || !o_.gates.empty() || !o_.per_layer.empty();
      return runs ? Status(usage("--structure runs nothing: it does not go with data, gates, "
                                 "layers or golden sets",
                                 "run diff once more for those"))
                  : Status();
    }
    if (!o_.record.empty()) {
      if (!o_.test.empty())
        return usage("--record takes one model, two are given",
                     "record the reference, then compare: onnxtool diff DIR TEST");
      return {};
    }
    if (golden_path_.empty() && is_golden(o_.reference)) {
      golden_path_ = o_.reference;
      reference_path_.clear();
      if (o_.test.empty()) return usage("no TEST given", "write onnxtool diff GOLDEN_DIR MODEL");
    } else if (!golden_path_.empty() && o_.test.empty()) {
      test_path_ = o_.reference;
      reference_path_.clear();
    }
    if (test_path_.empty())
      return usage("no TEST given",
                   "usage: onnxtool diff [OPTION...] REFERENCE TEST; see onnxtool diff --help");
    if (golden_path_.empty())
      return o_.accept ? Status(usage("--accept without a golden set", "add --golden DIR"))
                       : Status();
    if (!o_.data.empty() || o_.data_flags.random || !o_.data_flags.raw.empty())
      return usage("a golden set brings its own samples", "leave out --data, --raw and --random");
    if (!o_.per_layer.empty() && reference_path_.empty())
      return usage("--per-layer needs the reference model: a golden set has its outputs only",
                   "write onnxtool diff REFERENCE TEST --golden DIR");
    return {};
  }

  Status open_reference() {
    ONNXTOOL_ASSIGN(reference_, open_model(reference_path_, o_.data_flags));
    ONNXTOOL_ASSIGN(source_, open_samples(*reference_, o_.data, o_.data_flags));
    rules_.reference = kind_of(*reference_);
    sample_inputs_ = inputs_of(reference_->graph());
    return {};
  }

  Status open_set() {
    auto opened = open_golden(golden_path_);
    if (!opened.ok()) return std::move(opened).error();
    golden_ = std::move(opened->golden);
    source_ = std::move(opened->source);
    recorded_ = std::move(opened->side);
    for (const GoldenTensor& t : golden_.inputs)
      sample_inputs_.push_back({t.name, ValueType::tensor(t.dtype)});
    for (const ModelKind k : {ModelKind::kFloat, ModelKind::kHalf, ModelKind::kQuantized})
      if (golden_.model_kind == name(k)) rules_.reference = k;
    if (rules_.given.empty())
      for (const std::string& text : golden_.gates) {
        auto gate = parse_gate(text);
        if (!gate.ok()) return std::move(gate).error().at(golden_path_ + "/golden.toml");
        rules_.given.push_back(*std::move(gate));
      }
    if (reference_path_.empty()) return {};
    ONNXTOOL_ASSIGN(reference_, open_model(reference_path_, o_.data_flags));
    if (const std::string digest = model_digest(*reference_); digest != golden_.model_sha256)
      return Error{ErrorCode::kMismatch,
                   golden_path_ + ": the set is stale: it was recorded from another " +
                       golden_.model + " than " + reference_path_,
                   "record it anew: onnxtool diff " + reference_path_ + " --record " +
                       golden_path_ + " --force --data PATH"};
    return {};
  }

  Status open_test() {
    if (reference_) {
      ONNXTOOL_ASSIGN(test_, open_second_model(test_path_, o_.data_flags));
    } else {
      ONNXTOOL_ASSIGN(test_, open_model(test_path_, o_.data_flags));
    }
    auto inputs = pair_inputs(sample_inputs_, test_->graph());
    if (!inputs.ok()) return std::move(inputs).error().at(test_path_);
    inputs_ = *std::move(inputs);
    rules_.test = kind_of(*test_);
    const auto atol = o_.atol ? o_.atol : golden_.atol, rtol = o_.rtol ? o_.rtol : golden_.rtol;
    band_ = default_band(rules_.reference, rules_.test);
    rules_.band_given = atol || rtol;
    band_ = {atol.value_or(band_.atol), rtol.value_or(band_.rtol)};
    return {};
  }

  // --record: the reference's answers are kept.
  Result<int> record() {
    std::vector<NamedPath> inputs = data_inputs(o_.data, o_.data_flags);
    inputs.push_back({"REFERENCE", reference_path_});
    inputs.push_back({"--config", o_.settings_file});
    ONNXTOOL_TRY(check_output_directory("--record", o_.record, inputs));
    progress_.stage("load");
    ONNXTOOL_TRY(open_reference());
    ONNXTOOL_ASSIGN(run_, run_options(o_.common, progress_, streams_));
    const SourceDescription d = source_->describe();
    Golden about;
    about.model = file_name(reference_path_ == "-" ? "stdin" : reference_path_);
    about.model_kind = name(rules_.reference);
    about.data_format = d.format;
    about.preprocess = d.preprocess;
    if (d.random) about.seed = d.seed;
    about.gates = o_.gates;
    about.atol = o_.atol;
    about.rtol = o_.rtol;
    progress_.stage("record");
    ONNXTOOL_TRY(write_set(*reference_, about, o_.record, o_.force));
    progress_.finish();
    Report report;
    report.command = "diff";
    report.inputs = {reference_path_};
    report.sections = {samples_section(), golden_section(about, o_.record),
                       timing_section(progress_)};
    ONNXTOOL_TRY(write_reports(report, targets_, o_.common, false, streams_));
    return 0;
  }

  Status write_set(const Model& model, Golden& about, const std::string& path, bool replace) {
    about.tool_version = ONNXTOOL_VERSION;
    ONNXTOOL_ASSIGN(AtomicDirectory directory, AtomicDirectory::create(path, replace));
    if (Status s = record_golden(model, *source_, run_, about, directory); !s.ok())
      return std::move(s).error();
    return directory.commit();
  }

  static Section golden_section(const Golden& g, const std::string& path) {
    Section s{"golden", "Golden set", {}, {}, {}, false};
    s.fields.push_back({"path", "path", path, ""});
    s.fields.push_back({"samples", "samples", static_cast<int64_t>(g.samples.size()), ""});
    s.fields.push_back({"model", "model", g.model, ""});
    s.fields.push_back({"model_sha256", "sha256 of the model", g.model_sha256, ""});
    for (const std::string& gate : g.gates)
      s.fields.push_back({"gate", "gate", gate, "", Audience::kPeople});
    return s;
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
    std::unique_ptr<Side> reference = std::move(recorded_);
    if (!reference) {
      ONNXTOOL_ASSIGN(reference, open_side(*reference_, reference_path_, nullptr));
    }
    ONNXTOOL_ASSIGN(const auto test, open_side(*test_, test_path_, &inputs_));
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
    add("reference", golden_path_.empty() ? reference_path_ : golden_path_, rules_.reference);
    add("test", test_path_, rules_.test);
    s.notes = inputs_.notes;
    s.notes.insert(s.notes.end(), pairing_.notes.begin(), pairing_.notes.end());
    return s;
  }

  Result<int> report(const std::vector<GateResult>& gates) {
    Report report;
    report.command = "diff";
    report.inputs = {golden_path_.empty() ? reference_path_ : golden_path_, test_path_};
    report.sections = {models_section(), samples_section(), outputs_section(comparison_, *source_)};
    if (!golden_path_.empty()) report.sections.push_back(golden_section(golden_, golden_path_));
    if (comparison_.accuracy.images())
      report.sections.push_back(accuracy_section(comparison_.accuracy));
    report.sections.push_back(gates_section(gates, band_));
    if (layers_) report.sections.push_back(*layers_);
    report.sections.push_back(timing_section(progress_));
    report.checks = gate_checks(gates);
    report.findings = comparison_findings(comparison_, pairing_, gates, *source_);
    Verdict verdict = gates.empty() ? Verdict::kNone : Verdict::kPass;
    for (const GateResult& g : gates) verdict = combine(verdict, g.verdict);
    if (!pairing_.missing.empty() || !pairing_.extra.empty()) verdict = Verdict::kFail;
    if (gates.empty() && report.findings.empty())
      report.findings.push_back(
          {"nothing-compared", "error", "the models have no outputs to compare", test_path_, ""});
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
    if (o_.accept && verdict != Verdict::kNone) {
      ONNXTOOL_TRY(accept());
      report.exit_code = 0;
      report.status = "ok";
      report.findings.push_back({"accepted", "note",
                                 "the recorded outputs are now those of " + test_path_,
                                 golden_path_, ""});
    }
    ONNXTOOL_TRY(write_reports(report, targets_, o_.common, false, streams_));
    return report.exit_code;
  }

  Section samples_section() const {
    std::vector<InputSpec> specs;
    for (const InputInfo& i : sample_inputs_) specs.push_back({i.name, i.type.dtype, {}, false});
    return data_section(*source_, specs, "Data", "data",
                        "random samples: errors on real data may differ");
  }

  Status accept() {
    for (size_t i = 0; i < inputs_.sample_input.size(); ++i)
      if (inputs_.sample_input[i] != i || inputs_.sample_input.size() != sample_inputs_.size() ||
          inputs_.convert_to[i] != DataType::kUndefined)
        return Error{
            ErrorCode::kMismatch,
            "--accept: " + test_path_ + " takes other inputs than the set has",
            "record a set of its own: onnxtool diff " + test_path_ + " --record DIR --data PATH"};
    golden_.model = file_name(test_path_);
    golden_.model_kind = name(rules_.test);
    run_.progress = nullptr;
    return write_set(*test_, golden_, golden_path_, true);
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
  std::string reference_path_, test_path_, golden_path_;  // empty: none
  std::vector<InputInfo> sample_inputs_;
  Golden golden_;
  std::unique_ptr<Side> recorded_;
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
