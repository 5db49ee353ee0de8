// onnxtool optimize: the same model in fewer nodes, and the proof that it is the same.
#include <fmt/format.h>

#include <algorithm>
#include <ostream>

#include "apps/command.h"
#include "apps/config.h"
#include "apps/flags.h"
#include "apps/models.h"
#include "apps/near_miss_report.h"
#include "apps/optimize_flags.h"
#include "apps/optimize_inputs.h"
#include "apps/optimize_report.h"
#include "apps/predicted_fusions.h"
#include "apps/progress.h"
#include "apps/reproduction.h"
#include "apps/verification.h"
#include "calib/exec/folder.h"
#include "libopt/analysis/assumptions.h"
#include "libopt/analysis/census.h"
#include "libopt/analysis/functions.h"
#include "libopt/analysis/seam.h"
#include "libopt/convert/lower_opset.h"
#include "libopt/convert/strip.h"
#include "libopt/io/load.h"
#include "libopt/ir/walk.h"
#include "libopt/rewrite/driver.h"
#include "libopt/rewrite/file_size.h"
#include "libopt/rewrite/inline_calls.h"
#include "libopt/rewrite/node_names.h"
#include "passes/pass.h"

namespace onnxtool {
namespace {

std::vector<const PassInfo*> without(std::vector<const PassInfo*> passes,
                                     const std::vector<Breach>& dropped) {
  std::erase_if(passes, [&](const PassInfo* p) {
    return std::ranges::find(dropped, p->name, &Breach::pass) != dropped.end();
  });
  return passes;
}

class OptimizeCommand {
 public:
  OptimizeCommand(const OptimizeOptions& options, const Streams& streams)
      : o_(options),
        save_(options.save),
        streams_(streams),
        progress_(streams, options.common.quiet) {}

  Result<int> run() {
    ONNXTOOL_TRY(check_flags());
    progress_.stage("load");
    ONNXTOOL_TRY(load());
    progress_.stage("optimize");
    make_constants();
    // Of the model as it is now: what flags changed above is meant.
    verifier_ = make_chosen_verifier(*model_, o_.verify, effective_threads(o_.common),
                                     [this](int64_t done, int64_t wanted) {
                                       if (done == 0 && !verifying_) progress_.stage("verify");
                                       verifying_ = true;
                                       progress_.update(done, wanted);
                                     });
    ONNXTOOL_ASSIGN(bool converted, convert());
    std::unique_ptr<Model> calling = inline_own_functions();
    VerifiedRun result =
        run_verified(model_, passes_, context_, verifier_.get(), converted || calling);
    if (calling && !result.breach &&
        size_in_file(*model_).bytes - o_.max_growth > size_in_file(*calling).bytes) {
      notes_[inlining_note_] = "calls of functions stay: without them the file would be larger";
      model_ = std::move(calling);
      state_ = {};
      result = run_verified(model_, passes_, context_, verifier_.get(), converted);
    }
    converted |= calling != nullptr;
    note_versions();
    changed_ |= converted || std::ranges::any_of(result.passes, &PassReport::fired);
    ONNXTOOL_ASSIGN(const std::optional<SavedFiles> saved, write(result));
    progress_.finish();
    ONNXTOOL_ASSIGN(Report report, report_of(result, saved));
    return write_reports(report, targets_, o_.common, output_ == "-", streams_);
  }

 private:
  // All that can be said without the model, before any work is done.
  Status check_flags() {
    ONNXTOOL_ASSIGN(passes_, chosen_passes(o_));
    ONNXTOOL_ASSIGN(keep_, Selector::parse(o_.keep));
    ONNXTOOL_ASSIGN(explanation_, Explanation::parse(o_.explain, o_.explain_what));
    ONNXTOOL_ASSIGN(output_, output_path(o_.output, o_.model, kOptimizedSuffix));
    ONNXTOOL_ASSIGN(targets_, report_targets(o_.common, output_ == "-"));
    std::vector<NamedPath> outputs = {{"the output", output_},
                                      {"--external-data", data_path_of(output_, save_.data_name)}};
    for (const ReportTarget& t : targets_) outputs.push_back({"--report", t.path});
    ONNXTOOL_TRY(check_target(output_, save_));
    ONNXTOOL_TRY(check_files(inputs_of(o_), outputs));
    if (o_.repro.empty()) return {};
    if (o_.verify == "off")
      return Error{ErrorCode::kUsage, "--repro shows what verification finds, and --verify is off",
                   "leave one of them out"};
    return check_output_directory("--repro", o_.repro, inputs_of(o_));
  }

  Status load() {
    ONNXTOOL_ASSIGN(model_, load_model(o_.model));
    ONNXTOOL_TRY(keep_.check(*model_));
    save_.protected_files = payload_files(*model_);
    save_.external_data |= model_->had_external_data;
    ONNXTOOL_TRY(check_target(output_, save_));
    before_ = {count(*model_),
               bytes_on_disk(*model_, o_.model),
               model_->opset(""),
               model_->ir_version,
               {}};
    if (o_.part.given()) {
      if (Status s = infer_graph(model_->graph()); !s.ok())
        return std::move(s).error().at(o_.model);
      auto part = subgraph_of(*model_, o_.part, notes_);
      if (!part.ok()) return std::move(part).error().at(o_.model);
      model_ = *std::move(part);
    }
    ONNXTOOL_TRY(freeze_dims(*model_, o_.shapes));
    if (Status s = assume(*model_, o_.assume); !s.ok()) return std::move(s).error().at(o_.model);
    changed_ = o_.part.given() || !o_.shapes.dims.empty() || !o_.shapes.input_shapes.empty() ||
               !o_.assume.empty();
    if (Status s = infer_graph(model_->graph()); !s.ok()) return std::move(s).error().at(o_.model);
    before_.cost = graph_cost(model_->graph());
    return {};
  }

  void make_constants() {
    const int promoted = promote_initializers(*model_);
    const int frozen = o_.freeze ? freeze_inputs(model_->graph()) : 0;
    changed_ |= promoted || frozen;
    if (promoted)
      notes_.push_back(fmt::format(
          "{} initializers are no longer listed as graph inputs, as IR versions below 4 had to",
          promoted));
    if (frozen) notes_.push_back(fmt::format("{} inputs with a default are constants now", frozen));
    const auto overridable = std::ranges::count_if(
        model_->graph().initializers(), [](const Value* v) { return v->is_graph_input(); });
    if (overridable)
      notes_.push_back(
          fmt::format("{} initializers are inputs with a default, which callers may override: "
                      "runtimes are faster with constants, which --freeze makes of them",
                      overridable));
    folder_ = make_folder();
    context_.folder = folder_.get();
    context_.max_growth_bytes = o_.max_growth;
    context_.ort_cpu = writes_foreign_operators(o_);
    context_.asked_for = !o_.passes.empty();
    context_.allowed_opset = o_.allow_opset;
    context_.keep = &keep_;
    context_.provenance = o_.provenance;
    context_.state = &state_;
    context_.on_progress = [this](int64_t done, int64_t all) { progress_.update(done, all); };
    if (o_.level == "extended" && !context_.ort_cpu)
      notes_.push_back(
          "level extended adds nothing for target portable, which has the standard's operators "
          "only: --target ort-cpu has more");
  }

  // Whether the model was changed. On the way down constants come first: older operators take as
  // constants what exporters leave to be computed, and what newer operators could be made of would
  // be written out again.
  Result<bool> convert() {
    if (o_.opset == 0 || model_->opset("") == o_.opset) return false;
    const bool lower = model_->opset("") > o_.opset;
    const auto fold = [this](Model& model) {
      std::vector<const PassInfo*> folding = optimization_pipeline(Level::kBasic);
      std::erase_if(folding, [](const PassInfo* p) { return p->exactness != Exactness::kExact; });
      PassContext context = context_;
      context.allowed_opset = 0;  // it is on the way down
      run_passes(model, folding, context);
    };
    if (lower) fold(*model_);
    auto converted = lower ? lower_opset(model_, o_.opset, fold) : convert_opset(*model_, o_.opset);
    if (!converted.ok()) return std::move(converted).error().at(o_.model);
    for (const std::string& change : converted->changes)
      notes_.push_back(fmt::format("opset {}: {}", o_.opset, change));
    return true;
  }

  // The bodies of the model's own functions in the place of their calls: passes see what they do,
  // and runtimes without a kernel for them do it at load. Not where the user said which passes to
  // run, or wants to know where nodes came from: those of a body came from none. Returns the model
  // as it was; nullptr where nothing is done.
  std::unique_ptr<Model> inline_own_functions() {
    if (model_->functions.empty() || !o_.passes.empty() || o_.provenance) return nullptr;
    bool kept = false, called = false;
    for_each_node(model_->graph(), [&](const Node& n) {
      const bool calls = called_function(n) != nullptr;
      called |= calls;
      kept |= calls && keep_.matches(n);
    });
    if (!called) return nullptr;
    if (kept) {
      notes_.emplace_back("calls of functions stay, as --keep names one");
      return nullptr;
    }
    std::unique_ptr<Model> before = model_->clone();
    if (const Status s = inline_functions(*model_); !s.ok()) {
      notes_.push_back("calls of functions stay: " + s.error().message);
      model_ = std::move(before);
      return nullptr;
    }
    inlining_note_ = notes_.size();
    notes_.emplace_back("calls of functions are inlined");
    return before;
  }

  void note_versions() {
    if (state_.opset_obstacle.empty()) return;
    notes_.push_back((model_->opset("") > before_.opset ? "the opset was raised no further: "
                                                        : "the opset was not raised: ") +
                     state_.opset_obstacle);
  }

  // Nothing where the answer is no.
  Result<std::optional<SavedFiles>> write(const VerifiedRun& result) {
    if (result.breach || fails_strict(o_.verify, result.verification))
      return std::optional<SavedFiles>();
    const int stripped = o_.strip ? strip(*model_) : 0;
    if (stripped)
      notes_.push_back(fmt::format(
          "{} doc strings, entries of metadata and names of nodes were left out", stripped));
    progress_.stage("write");
    const int renamed = make_node_names_unique(model_->graph());
    // What is optimal already comes back byte for byte, whoever wrote it.
    if (!changed_ && !stripped && !renamed && o_.model != "-" && !save_.external_data) {
      ONNXTOOL_ASSIGN(SavedFiles saved, save_unchanged(o_.model, output_, save_));
      return std::optional(std::move(saved));
    }
    ONNXTOOL_ASSIGN(SavedFiles saved, save_model(*model_, output_, save_));
    return std::optional(std::move(saved));
  }

  Result<Report> report_of(const VerifiedRun& result, const std::optional<SavedFiles>& saved) {
    Report report;
    report.command = "optimize";
    report.inputs = {o_.model};
    report.sections = {
        model_section(o_.model, before_, *model_, saved ? &*saved : nullptr, output_),
        passes_section(result.passes, result.dropped)};
    report.sections[0].notes = notes_;
    if (explanation_.wanted() && !result.breach) {
      report.sections.push_back(predicted_fusions(*model_, context_));
      report.sections.push_back(
          explanation_.section(*model_, without(passes_, result.dropped), context_));
    }
    report.sections.push_back(verification_section(result.verification, !verifier_));
    report.sections.push_back(timing_by_pass(progress_, result.passes));
    if (result.breach) report.findings.push_back(breach_finding(*result.breach, o_.model));
    if (result.breach && !o_.repro.empty()) {
      ONNXTOOL_ASSIGN(Section section, write_reproduction(result, context_,
                                                          {o_.repro, o_.output.force,
                                                           effective_threads(o_.common)}));
      report.sections.push_back(std::move(section));
    }
    if (fails_strict(o_.verify, result.verification))
      report.findings.push_back(
          unverified_finding(result.verification->unverified_nodes, o_.model));
    if (!saved) report.answer = Answer::kNo;
    return report;
  }

  const OptimizeOptions& o_;
  SaveOptions save_;
  const Streams& streams_;
  Progress progress_;
  std::vector<const PassInfo*> passes_;
  Selector keep_;
  Explanation explanation_;
  std::string output_;
  std::vector<ReportTarget> targets_;
  std::unique_ptr<Model> model_;
  OptimizeBefore before_;
  std::unique_ptr<Folder> folder_;
  PassState state_;
  PassContext context_;
  std::unique_ptr<Verifier> verifier_;
  bool verifying_ = false;
  bool changed_ = false;  // by what any flag or pass did
  std::vector<std::string> notes_;
  size_t inlining_note_ = 0;  // its place, where functions were inlined
};

Run add(CLI::App& command) {
  auto options = std::make_shared<OptimizeOptions>();
  add_optimize_flags(command, *options);
  CLI::App* app = &command;
  return [options, app](const Streams& streams) -> Result<int> {
    options->save = save_options(*app, options->output);
    options->settings_file = settings_file(*app);
    options->explain = app->get_option("--explain")->count() > 0;
    return OptimizeCommand(*options, streams).run();
  };
}

}  // namespace

extern constinit const CommandInfo kOptimizeCommand{
    "optimize", "Make the same model with fewer nodes, verified against the original", add};

}  // namespace onnxtool
