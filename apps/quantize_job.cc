#include "apps/quantize_job.h"

#include <fmt/format.h>

#include <algorithm>
#include <ostream>

#include "apps/models.h"
#include "apps/quantize_accuracy.h"
#include "apps/quantize_report.h"
#include "calib/compare/compare.h"
#include "calib/compare/runnable.h"
#include "calib/compare/trial_source.h"
#include "libopt/analysis/seam.h"
#include "libopt/io/load.h"
#include "libopt/io/reread.h"
#include "libopt/rewrite/inline_calls.h"
#include "libopt/rewrite/node_names.h"
#include "quant/given_codes.h"

namespace onnxtool {
namespace {

// Samples compared with the float model where there is no --eval data.
constexpr int64_t kVerifySamples = 8;
// Drawn where there is no data at all.
constexpr int64_t kTrialSamples = 2;

// Whether somebody quantized the model before.
bool has_integer_nodes(const Graph& graph) {
  for (const Node& n : graph.nodes())
    if (n.is("DequantizeLinear") || n.op_type().starts_with("QLinear") || n.is("MatMulInteger") ||
        n.is("ConvInteger") || n.is("DynamicQuantizeLinear"))
      return true;
  return false;
}

PlanOptions plan_options(const RunOptions& run) {
  PlanOptions o;
  o.kernel_sets = run.kernel_sets;
  o.threads = run.threads;
  o.max_iterations = run.max_iterations;
  return o;
}

bool has_fixed_extents(const Model& model, const std::string& output) {
  const Value* v = model.graph().find(output);
  return v && v->type().shape &&
         std::ranges::all_of(*v->type().shape, [](const Dim& d) { return d.value.has_value(); });
}

// What to try where the result gives NaN or infinities; `drawn`: no samples were given.
std::string non_finite_hint(const QuantizeFlags& flags, bool drawn) {
  if (drawn && !flags.to.empty())
    return "nothing was written. --calib PATH measures which values leave the range of " +
           flags.to + ", and their nodes stay float32; --random 2 does so for a first try";
  return drawn ? "nothing was written. The inputs were drawn: --random 2 --random-range "
                 "NAME=LOW,HIGH draws what an input can hold, --eval takes real samples, --verify "
                 "off none"
               : "nothing was written; leave the layers with the largest error in float with "
                 "--exclude";
}

}  // namespace

Result<int> QuantizeJob::run() {
  ONNXTOOL_ASSIGN(method_, make_method(o_));
  ONNXTOOL_ASSIGN([[maybe_unused]] const auto target, accuracy_target(o_));
  ONNXTOOL_TRY(method_->open());
  ONNXTOOL_TRY(open_files());
  progress_.stage("load");
  ONNXTOOL_TRY(open_model());
  progress_.stage("prepare");
  if (!o_.dry_run) ONNXTOOL_TRY(open_data());
  report_.command = "quantize";
  report_.inputs = {o_.model};
  const QuantizeContext context{*original_,       calibration_.get(), eval_.get(), run_,
                                calibration_run_, progress_,          output_};
  if (Status s = method_->decide(context); !s.ok())
    return s.error().code == ErrorCode::kNegative ? nothing(s.error())
                                                  : std::move(s).error().at(o_.model);
  if (o_.dry_run) return dry_run();
  if (Status s = method_->quantize(context); !s.ok()) {
    if (s.error().code == ErrorCode::kNegative) return nothing(s.error());
    return explained(std::move(s).error());
  }
  if (!method_->makes_model()) return finish_without_model();
  unmet_ = method_->unmet();
  if (!unmet_) stamp(*method_->result().model);
  if (o_.verify == "on" && !unmet_) {
    progress_.stage("verify");
    if (Status s = verify(); !s.ok()) return explained(std::move(s).error());
  }
  return finish();
}

Status QuantizeJob::open_files() {
  ONNXTOOL_ASSIGN(data_options_, data_options(o_.data));
  ONNXTOOL_ASSIGN(targets_, report_targets(o_.common, o_.output.output == "-" && writes()));
  if (method_->needs_samples() && !data_given(o_) && !o_.dry_run)
    return Error{ErrorCode::kUsage, "no calibration data given",
                 "add --calib PATH; --random N for a first try without data"};
  save_ = o_.save;
  if (!method_->makes_model() && !o_.output.output.empty())
    return Error{ErrorCode::kUsage, "-o names a model, but this run makes none", "leave it out"};
  if (writes()) {
    ONNXTOOL_ASSIGN(output_, output_path(o_.output, o_.model, method_->suffix()));
  }
  std::vector<NamedPath> outputs = {{"the output", output_}, {"--save-ranges", o_.save_ranges}};
  if (!o_.emit_recipe.empty() && !writes())
    return Error{ErrorCode::kUsage, "--emit-recipe repeats a model, but this run makes none",
                 "leave it out"};
  outputs.push_back({"--emit-recipe", o_.emit_recipe});
  outputs.push_back({"--external-data", data_path_of(output_, save_.data_name)});
  for (const ReportTarget& t : targets_) outputs.push_back({"--report", t.path});
  if (writes()) ONNXTOOL_TRY(check_target(output_, save_));
  return check_files(inputs_of(o_), outputs);
}

// Names are those of the graph that is quantized, where calls of functions are inlined.
Status QuantizeJob::check_selections() const {
  if (original_->functions.empty()) return method_->check(*original_);
  const std::unique_ptr<Model> inlined = original_->clone();
  ONNXTOOL_TRY(inline_functions(*inlined));
  return method_->check(*inlined);
}

Status QuantizeJob::open_model() {
  ONNXTOOL_ASSIGN(original_, load_model(o_.model));
  ONNXTOOL_TRY(apply_shapes(*original_, o_.data));
  if (Status s = infer_graph(original_->graph()); !s.ok()) return std::move(s).error().at(o_.model);
  if (Status s = check_given_codes(*original_); !s.ok()) return std::move(s).error().at(o_.model);
  ONNXTOOL_TRY(check_selections());
  // Only now the model's own data files are known, and whether the output must have one.
  save_.protected_files = payload_files(*original_);
  save_.external_data |= original_->had_external_data;
  if (writes()) ONNXTOOL_TRY(check_target(output_, save_));
  // --calib-precision is for calibration alone.
  CommonFlags exact = o_.common;
  exact.precision = "f32";
  ONNXTOOL_ASSIGN(run_, run_options(exact, progress_, streams_));
  KernelSets kernels{run_.kernel_sets, {}};
  ONNXTOOL_TRY(use_precision(kernels, o_.common.precision));
  calibration_run_ = run_;
  calibration_run_.kernel_sets = std::move(kernels.sets);
  return {};
}

Status QuantizeJob::open_data() {
  if (data_given(o_)) {
    ONNXTOOL_ASSIGN(calibration_, open_samples(o_.calib));
  }
  if (!o_.eval.empty()) {
    ONNXTOOL_ASSIGN(eval_, open_samples(o_.eval));
  }
  return {};
}

Result<std::unique_ptr<SampleSource>> QuantizeJob::open_samples(const std::string& path) const {
  ONNXTOOL_ASSIGN(const auto specs, input_specs(*original_));
  if (path.empty() && o_.data.random) {
    ONNXTOOL_ASSIGN(const auto bounds, random_bounds(*original_, o_.data));
    return open_random(o_.data.random, o_.data.seed, specs, bounds);
  }
  return open_source(path, data_options_, specs);
}

Result<int> QuantizeJob::nothing(const Error& why) {
  progress_.finish();
  const bool quantized = has_integer_nodes(original_->graph());
  return negative(
      {"nothing-to-quantize", "error", why.message, o_.model,
       !why.hint.empty() ? why.hint
       : quantized ? "the model is quantized already: give the float model that it was made from"
                   : "nothing was written: the float model is the better one"});
}

Result<int> QuantizeJob::dry_run() {
  progress_.finish();
  report_.sections = {model_section(o_.model, *original_, *method_, nullptr, output_),
                      method_->section()};
  return write_reports(report_, targets_, o_.common, false, streams_);
}

// Random calibration must not pass for a real one: the model says so itself.
void QuantizeJob::stamp(Model& model) const {
  model.producer_name = "onnxtool";
  model.producer_version = ONNXTOOL_VERSION;
  if (!calibration_ || !method_->needs_samples()) return;
  const SourceDescription d = calibration_->describe();
  if (d.random)
    model.metadata.emplace_back("onnxtool.calibration",
                                fmt::format("random {} seed {}", d.count, d.seed));
}

Status QuantizeJob::verify() {
  // What is judged is what a reader of the file gets: the model goes through its bytes first.
  ONNXTOOL_ASSIGN(const std::unique_ptr<Model> loaded, reread(*method_->result().model));
  ONNXTOOL_TRY(infer_graph(loaded->graph()));
  for (const Node& n : loaded->graph().nodes())
    if (Status s = check_node(n); !s.ok()) return std::move(s).error().at("the quantized model");
  method_->run_as_target(*loaded);
  std::unique_ptr<SampleSource> drawn;
  if (!eval_ && !calibration_) {
    auto trials = open_trials(*original_, kTrialSamples, run_);
    if (!trials.ok()) {
      if (const auto nodes = in_the_way(); !nodes.empty()) return verify_around(*loaded, nodes);
      return std::move(trials).error();
    }
    drawn = *std::move(trials);
  }
  const SampleSource& calibration = calibration_ ? *calibration_ : eval_ ? *eval_ : *drawn;
  const SampleSource& source = eval_ ? *eval_ : calibration;
  ONNXTOOL_TRY(compare(original_->graph(), loaded->graph(), source,
                       eval_                      ? o_.eval
                       : source.describe().random ? "random data"
                       : method_->needs_samples() ? "the calibration data"
                                                  : o_.calib));
  return compare_by_layer(loaded->graph(), calibration);
}

// Each looked at alone: slow, and for errors only.
std::vector<const Node*> QuantizeJob::in_the_way() const {
  return Plan::nodes_in_the_way(original_->graph(), plan_options(run_));
}

Error QuantizeJob::explained(Error error) const {
  if (error.code != ErrorCode::kUnsupported || in_the_way().empty()) return error;
  if (!error.hint.empty()) error.hint += "; ";
  error.hint += method_->needs_samples()
                    ? "calibration runs the model, --dynamic, --weight-only and --to need not"
                    : "without --calib, --random and --eval the model is written unverified";
  return error;
}

// What stands around the nodes that nothing here can run is compared, where the types of their
// results are known; else the model is written unverified.
Status QuantizeJob::verify_around(const Model& loaded, const std::vector<const Node*>& in_the_way) {
  const Runnable before = make_runnable(*original_, plan_options(run_));
  const Runnable after = make_runnable(loaded, plan_options(run_));
  std::string obstacle = !before.obstacle.empty() ? before.obstacle : after.obstacle;
  if (obstacle.empty() && before.cut != after.cut)
    obstacle = "these nodes are not the same in both models";
  if (obstacle.empty() && before.cut == 0) obstacle = "it cannot be run without them either";
  if (obstacle.empty()) {
    const auto drawn = open_trials(*before.model, kTrialSamples, run_);
    if (drawn.ok())
      ONNXTOOL_TRY(compare(before.model->graph(), after.model->graph(), **drawn,
                           "random data, around what cannot be run"));
    else
      obstacle = drawn.error().message;
  }
  if (!obstacle.empty()) {
    accuracy_ = Section{"accuracy", "Accuracy against the float model", {}, {}, {}, false};
    accuracy_->fields.push_back({"data", "compared on", "nothing: unverified", ""});
    accuracy_->notes.push_back("not verified: " + obstacle);
  }
  const auto count = static_cast<int64_t>(in_the_way.size());
  accuracy_->fields.push_back(
      {"unverified_nodes", "unverified", count, count == 1 ? "node" : "nodes"});
  accuracy_->notes.push_back("nothing here can run " + in_the_way[0]->describe() +
                             (count > 1 ? fmt::format(" and {} more", count - 1) : ""));
  return {};
}

Status QuantizeJob::compare(const Graph& reference, const Graph& loaded, const SampleSource& source,
                            const std::string& data) {
  ComparisonOptions options;
  options.labelled = eval_ && eval_->has_labels();
  options.max_samples = eval_ || !o_.accuracy_target.empty() ? -1 : kVerifySamples;
  options.metrics.kl = o_.accuracy_target.starts_with("kl=");
  // Of 16-bit floats: compared as numbers.
  options.metrics.allow_dtype_change = true;
  ONNXTOOL_ASSIGN(const ModelComparison compared,
                  compare_models(reference, loaded, source, run_, options));
  accuracy_ = accuracy_section(compared, data, options.labelled);
  unmet_ = target_missed(o_, compared);
  return judge(compared);
}

// Boxes that are kept, indices of what is not zero: where a value crosses a threshold, sizes
// differ, and element by element there is nothing to compare. The other outputs judge the model.
Status QuantizeJob::judge(const ModelComparison& compared) {
  bool any = compared.outputs.empty();
  for (const auto& [name, metrics] : compared.outputs) {
    any = any || metrics.samples() > 0;
    if (metrics.samples() > 0 && metrics.total().all.non_finite_mismatches > 0) good_ = false;
    if (metrics.failures().empty()) continue;
    if (has_fixed_extents(*original_, name))
      return Error{ErrorCode::kBadData,
                   "output '" + name + "': " + metrics.failures().begin()->second,
                   "the result has another shape than the float model's: this is a bug"};
    accuracy_->notes.push_back(fmt::format(
        "output '{}' has as many elements as the data makes it have: on {} of {} samples the "
        "models differ in that, and it was not compared",
        name, metrics.failures().size(), compared.samples));
  }
  if (any) return {};
  return Error{ErrorCode::kBadData,
               "no output could be compared: sizes of all of them depend on the data and differ",
               "--verify off writes the model without a comparison; --exclude leaves what decides "
               "on sizes in float"};
}

Status QuantizeJob::compare_by_layer(const Graph& loaded, const SampleSource& source) {
  const QuantizedModel& result = method_->result();
  const Graph& shown = result.by_layer ? result.by_layer->graph() : loaded;
  std::vector<LayerPair> pairs;
  for (const LayerPair& pair : result.layers)
    if (const Value* v = shown.find(pair.test->name())) pairs.push_back({pair.reference, v});
  if (pairs.empty()) return {};
  LayerOptions by_layer;
  by_layer.max_samples = std::min<int64_t>(kVerifySamples, source.size());
  RunOptions quiet = run_;
  quiet.progress = nullptr;
  ONNXTOOL_ASSIGN(const InputPairing inputs, pair_inputs(result.reference->graph(), shown));
  ONNXTOOL_ASSIGN(auto errors, compare_layers(result.reference->graph(), shown, pairs, &inputs,
                                              source, quiet, by_layer));
  layers_ = layers_section(std::move(errors), by_layer.max_samples);
  return {};
}

Result<int> QuantizeJob::finish_without_model() {
  progress_.finish();
  report_.sections.push_back(model_section(o_.model, *original_, *method_, nullptr, output_));
  report_.sections.push_back(
      data_section(*calibration_, *original_, "Calibration data", "calibration", ""));
  Section ranges{"ranges", "Ranges", {}, {}, {}, false};
  ranges.fields.push_back({"file", "file", o_.save_ranges, ""});
  ranges.fields.push_back({"shard", "shard", o_.shard, ""});
  ranges.notes.push_back("the file holds one shard: `onnxtool ranges merge` joins them");
  report_.sections.push_back(std::move(ranges));
  report_.sections.push_back(timing_section(progress_));
  return write_reports(report_, targets_, o_.common, false, streams_);
}

Result<int> QuantizeJob::finish() {
  SavedFiles saved;
  const bool good = good_ && !unmet_;
  if (good) {
    progress_.stage("write");
    Model& model = *method_->result().model;
    // Runtimes refuse two nodes of one name, and new ones are named after the values they make.
    make_node_names_unique(model.graph());
    ONNXTOOL_ASSIGN(saved, save_model(model, output_, save_));
    if (!o_.emit_recipe.empty())
      ONNXTOOL_TRY(
          write_text(o_.emit_recipe, recipe_text(o_.settings, method_->decided(*original_))));
  }
  progress_.finish();
  report_.sections.push_back(
      model_section(o_.model, *original_, *method_, good ? &saved : nullptr, output_));
  if (calibration_)
    report_.sections.push_back(data_section(*calibration_, *original_, "Calibration data",
                                            "calibration",
                                            "random samples: ranges fit no real data; use --calib "
                                            "for a model that ships"));
  report_.sections.push_back(method_->section());
  for (Section& s : method_->more_sections()) report_.sections.push_back(std::move(s));
  if (accuracy_) report_.sections.push_back(*std::move(accuracy_));
  if (layers_) report_.sections.push_back(*std::move(layers_));
  report_.sections.push_back(timing_section(progress_));
  if (!good_)
    return negative({"new-non-finite", "error",
                     "the quantized model gives NaN or infinities where the float model does not",
                     output_, non_finite_hint(o_, !calibration_ && !eval_)});
  if (unmet_) return negative(*std::move(unmet_));
  return write_reports(report_, targets_, o_.common, output_ == "-", streams_);
}

// It ran, and the answer is no: a report with the reason.
Result<int> QuantizeJob::negative(Finding why) {
  report_.answer = Answer::kNo;
  report_.findings.push_back(std::move(why));
  return write_reports(report_, targets_, o_.common, output_ == "-", streams_);
}

}  // namespace onnxtool
