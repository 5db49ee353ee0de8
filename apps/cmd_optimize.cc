// onnxtool optimize: the same model in fewer nodes, and the proof that it is the same.
#include <fmt/format.h>

#include <algorithm>
#include <ostream>
#include <set>

#include "apps/command.h"
#include "apps/config.h"
#include "apps/data_flags.h"
#include "apps/files.h"
#include "apps/flags.h"
#include "apps/model_flags.h"
#include "apps/model_output.h"
#include "apps/models.h"
#include "apps/near_miss_report.h"
#include "apps/optimize_inputs.h"
#include "apps/optimize_report.h"
#include "apps/progress.h"
#include "apps/reproduction.h"
#include "apps/subgraph.h"
#include "apps/verification.h"
#include "calib/exec/folder.h"
#include "libopt/analysis/census.h"
#include "libopt/analysis/seam.h"
#include "libopt/convert/lower_opset.h"
#include "libopt/convert/strip.h"
#include "libopt/io/load.h"
#include "libopt/io/reread.h"
#include "libopt/rewrite/driver.h"
#include "libopt/rewrite/node_names.h"
#include "passes/pass.h"

namespace onnxtool {
namespace {

constexpr const char* kSuffix = ".opt.onnx";

struct Options {
  std::string model;
  OutputFlags output;
  SaveOptions save;
  std::vector<std::string> passes, disable, keep;
  int64_t max_growth = 0;
  int opset = 0, allow_opset = 0;
  bool freeze = false, strip = false, explain = false;
  SubgraphFlags part;
  std::string repro;
  std::string explain_what;
  DataFlags shapes;  // dims and input_shapes of it
  std::string verify = "quick";
  std::string level = "basic", target = "portable";
  std::string settings_file;  // empty: none
  CommonFlags common;
};

void add_flags(CLI::App& c, Options& o) {
  add_text(c, o.model, {"MODEL", "FILE", "Model (.onnx); - is stdin", "Arguments"})->required();
  const std::string how = "Optimization", shapes = "Shapes and versions";
  add_output_flags(c, o.output, kSuffix);
  add_verify_flag(c, o.verify, "Output");
  add_text(c, o.repro,
           {"--repro", "DIR",
            "Where verification fails, write the nodes that were rewritten wrongly, before and "
            "after, with inputs that show it",
            "Output"});
  add_choice(c, o.level,
             {"--level", "basic|extended",
              "Which passes run (docs/passes.md): basic writes the standard's operators only, "
              "extended those too that the target has besides",
              how});
  add_choice(
      c, o.target,
      {"--target", "portable|ort-cpu", "Runtime that will run the model; portable means any", how});
  add_list(c, o.passes,
           {"--passes", "NAME[,NAME]", "Run only these passes (docs/passes.md lists them)", how});
  add_list(c, o.disable, {"--disable", "NAME[,NAME]", "Leave these passes out", how});
  add_list(c, o.keep,
           {"--keep", "SELECTOR",
            "Leave these nodes as they are: op:TYPE, name:GLOB, or @FILE with one a line", how});
  add_integer(
      c, o.max_growth, int64_t{0}, int64_t{1} << 50,
      {"--max-growth", "BYTES", "How much larger folding may make the file (default: 0)", how});
  add_switch_with_value(c, o.explain_what,
                        {"--explain", "PASS|SELECTOR",
                         "Show what passes came close to and did not do, and why: of one pass, of "
                         "op:TYPE or name:GLOB, or counted",
                         how});
  add_list(c, o.shapes.dims, {"--dim", "NAME=N", "Make a named dynamic dimension N", shapes});
  add_list(c, o.shapes.input_shapes,
           {"--input-shape", "INPUT=DIMS", "Make the shape of an input static, as in x=1,3,224,224",
            shapes});
  add_subgraph_flags(c, o.part, shapes);
  add_switch(c, o.freeze,
             {"--freeze", "",
              "Make inputs that have a default constants, as exporters mean them that list weights "
              "among the inputs",
              shapes});
  add_switch(
      c, o.strip,
      {"--strip", "",
       "Leave out doc strings, metadata of nodes and values, and names of nodes; the model's "
       "own metadata stays",
       shapes});
  add_integer(
      c, o.opset, 1, kMaxConvertTarget,
      {"--opset", "N", "Raise or lower the version of the standard operators to N", shapes});
  add_integer(
      c, o.allow_opset, 1, kMaxConvertTarget,
      {"--allow-opset", "N",
       "Raise that version up to N where a fusion needs an operator that is newer", shapes});
  add_common_flags(c, o.common);
  add_config_flags(c);
  c.footer("Example: onnxtool optimize resnet.onnx -o resnet.opt.onnx");
}

// --- what to run ---------------------------------------------------------------------------------

Result<std::set<std::string>> pass_names(const std::string& flag,
                                         const std::vector<std::string>& lists) {
  std::vector<std::string> known;
  for (const PassInfo* p : all_passes()) known.emplace_back(p->name);
  std::set<std::string> out;
  for (const std::string& list : lists)
    for (size_t start = 0; start <= list.size();) {
      const size_t end = std::min(list.find(',', start), list.size());
      const std::string name = list.substr(start, end - start);
      start = end + 1;
      if (find_pass(name)) {
        out.insert(name);
        continue;
      }
      const std::string hint = did_you_mean(name, known);
      return Error{ErrorCode::kUsage, fmt::format("{}: there is no pass '{}'", flag, name),
                   hint.empty() ? fmt::format("there are: {}", fmt::join(known, ", ")) : hint};
    }
  return out;
}

// Extended passes write operators of the target, and a portable model has none of them.
bool writes_foreign_operators(const Options& o) {
  return o.level == "extended" && o.target != "portable";
}

Result<std::vector<const PassInfo*>> chosen_passes(const Options& o) {
  ONNXTOOL_ASSIGN(const auto only, pass_names("--passes", o.passes));
  ONNXTOOL_ASSIGN(const auto without, pass_names("--disable", o.disable));
  const bool extended = writes_foreign_operators(o);
  for (const std::string& name : only) {
    if (find_pass(name)->level == Level::kAll)
      return Error{
          ErrorCode::kUsage,
          fmt::format("--passes: {} is for files that the runtime loads as they are", name),
          "onnxtool convert-ort --level all runs it"};
    if (!extended && find_pass(name)->level == Level::kExtended)
      return Error{ErrorCode::kUsage,
                   fmt::format("--passes: {} writes operators that only some runtimes have", name),
                   "--level extended --target ort-cpu permits it"};
  }
  std::vector<const PassInfo*> chosen;
  for (const PassInfo* p : optimization_pipeline(extended ? Level::kExtended : Level::kBasic))
    if ((only.empty() || only.contains(std::string(p->name))) &&
        !without.contains(std::string(p->name)))
      chosen.push_back(p);
  return chosen;
}

std::vector<NamedPath> inputs_of(const Options& o) {
  std::vector<NamedPath> in = {{"MODEL", o.model}, {"--config", o.settings_file}};
  for (const std::string& selector : o.keep)
    if (selector.starts_with("@")) in.push_back({"selector", selector.substr(1)});
  return in;
}

// --- the command ---------------------------------------------------------------------------------

class OptimizeCommand {
 public:
  OptimizeCommand(const Options& options, const Streams& streams)
      : o_(options), streams_(streams), progress_(streams, options.common.quiet) {}

  Result<int> run() {
    ONNXTOOL_ASSIGN(const auto passes, chosen_passes(o_));
    ONNXTOOL_ASSIGN(const Selector keep, Selector::parse(o_.keep));
    ONNXTOOL_ASSIGN(const Explanation explanation, Explanation::parse(o_.explain, o_.explain_what));
    ONNXTOOL_ASSIGN(output_, output_path(o_.output, o_.model, kSuffix));
    ONNXTOOL_ASSIGN(targets_, report_targets(o_.common, output_ == "-"));
    SaveOptions save = o_.save;
    std::vector<NamedPath> outputs = {{"the output", output_},
                                      {"--external-data", data_path_of(output_, save.data_name)}};
    for (const ReportTarget& t : targets_) outputs.push_back({"--report", t.path});
    ONNXTOOL_TRY(check_target(output_, save));
    ONNXTOOL_TRY(check_files(inputs_of(o_), outputs));
    ONNXTOOL_TRY(check_repro());

    progress_.stage("load");
    ONNXTOOL_ASSIGN(std::unique_ptr<Model> model, load_model(o_.model));
    ONNXTOOL_TRY(keep.check(*model));
    save.protected_files = payload_files(*model);
    save.external_data |= model->had_external_data;
    ONNXTOOL_TRY(check_target(output_, save));
    const OptimizeBefore before{count(*model), bytes_on_disk(*model, o_.model), model->opset(""),
                                model->ir_version};
    if (o_.part.given()) {
      ONNXTOOL_ASSIGN(model, part_of(*model));
    }
    ONNXTOOL_TRY(freeze_dims(*model, o_.shapes));
    if (Status s = infer_graph(model->graph()); !s.ok()) return std::move(s).error().at(o_.model);

    progress_.stage("optimize");
    if (const int promoted = promote_initializers(*model))
      notes_.push_back(fmt::format(
          "{} initializers are no longer listed as graph inputs, as IR versions below 4 had to",
          promoted));
    if (o_.freeze)
      if (const int frozen = freeze_inputs(model->graph()))
        notes_.push_back(fmt::format("{} inputs with a default are constants now", frozen));
    std::unique_ptr<Verifier> verifier =
        make_chosen_verifier(*model, o_.verify, effective_threads(o_.common));
    const std::unique_ptr<Folder> folder = make_folder();
    PassContext context;
    context.folder = folder.get();
    context.max_growth_bytes = o_.max_growth;
    context.ort_cpu = writes_foreign_operators(o_);
    context.allowed_opset = o_.allow_opset;
    context.keep = &keep;
    ONNXTOOL_ASSIGN(const bool converted, convert(model, context));
    if (o_.level == "extended" && !context.ort_cpu)
      notes_.push_back(
          "level extended adds nothing for target portable, which has the standard's operators "
          "only: --target ort-cpu has more");
    const VerifiedRun result = run_verified(model, passes, context, verifier.get(), converted);

    if (!context.opset_obstacle.empty())
      notes_.push_back((model->opset("") > before.opset ? "the opset was raised no further: "
                                                        : "the opset was not raised: ") +
                       context.opset_obstacle);
    Report report;
    report.command = "optimize";
    report.inputs = {o_.model};
    const bool strict_failure = fails_strict(o_.verify, result.verification);
    std::optional<SavedFiles> saved;
    if (!result.breach && !strict_failure) {
      if (o_.strip)
        if (const int stripped = strip(*model))
          notes_.push_back(fmt::format(
              "{} doc strings, entries of metadata and names of nodes were left out", stripped));
      progress_.stage("write");
      make_node_names_unique(model->graph());
      ONNXTOOL_ASSIGN(saved, save_model(*model, output_, save));
    }
    progress_.finish();
    report.sections = {model_section(o_.model, before, *model, saved ? &*saved : nullptr, output_),
                       passes_section(result.passes, result.dropped),
                       verification_section(result.verification, !verifier),
                       timing_by_pass(progress_, result.passes)};
    if (explanation.wanted() && !result.breach)
      report.sections.insert(report.sections.begin() + 2,
                             explanation.section(*model, without(passes, result.dropped), context));
    report.sections[0].notes = notes_;
    if (result.breach) report.findings.push_back(breach_finding(*result.breach));
    if (result.breach && !o_.repro.empty()) {
      ONNXTOOL_ASSIGN(Section section, write_reproduction(result, context,
                                                          {o_.repro, o_.output.force,
                                                           effective_threads(o_.common)}));
      report.sections.push_back(std::move(section));
    }
    if (strict_failure)
      report.findings.push_back(
          {"unverified", "error",
           fmt::format("{} node{} cannot be verified", result.verification->unverified_nodes,
                       result.verification->unverified_nodes == 1 ? "" : "s"),
           o_.model, "nothing was written; --verify full accepts what cannot be run"});
    if (!saved) {
      report.answer = Answer::kNo;
    }
    return write_reports(report, targets_, o_.common, output_ == "-", streams_);
  }

 private:
  Status check_repro() const {
    if (o_.repro.empty()) return {};
    if (o_.verify == "off")
      return Error{ErrorCode::kUsage, "--repro shows what verification finds, and --verify is off",
                   "leave one of them out"};
    return check_output_directory("--repro", o_.repro, inputs_of(o_));
  }

  Result<std::unique_ptr<Model>> part_of(Model& model) {
    if (Status s = infer_graph(model.graph()); !s.ok()) return std::move(s).error().at(o_.model);
    auto part = subgraph_of(model, o_.part, notes_);
    if (!part.ok()) return std::move(part).error().at(o_.model);
    return part;
  }

  static std::vector<const PassInfo*> without(std::vector<const PassInfo*> passes,
                                              const std::vector<Breach>& dropped) {
    std::erase_if(passes, [&](const PassInfo* p) {
      return std::ranges::find(dropped, p->name, &Breach::pass) != dropped.end();
    });
    return passes;
  }

  // Older operators take as constants what exporters leave to be computed. What newer ones could be
  // made of would be written out again.
  static void fold_before_lowering(Model& model, const PassContext& context) {
    std::vector<const PassInfo*> folding = optimization_pipeline(Level::kBasic);
    std::erase_if(folding, [](const PassInfo* p) { return p->exactness != Exactness::kExact; });
    run_passes(model, folding, context);
  }

  // Whether the model was changed.
  Result<bool> convert(std::unique_ptr<Model>& model, const PassContext& context) {
    if (o_.opset == 0 || model->opset("") == o_.opset) return false;
    const bool lower = model->opset("") > o_.opset;
    if (lower) fold_before_lowering(*model, context);
    auto converted = lower ? lower_opset(model, o_.opset) : convert_opset(*model, o_.opset);
    if (!converted.ok()) return std::move(converted).error().at(o_.model);
    for (const std::string& change : converted->changes)
      notes_.push_back(fmt::format("opset {}: {}", o_.opset, change));
    return true;
  }

  Finding breach_finding(const Breach& breach) const {
    if (breach.pass.empty())
      return {"not-equal", "error",
              "the model converted to another opset computes something else: " + breach.difference,
              o_.model, "nothing was written; leave out --opset, and please report this model"};
    return {"not-equal", "error",
            fmt::format("{} at {} changes what the model computes: {}", breach.pass, breach.node,
                        breach.difference),
            o_.model,
            fmt::format("nothing was written; leave the pass out with --disable {}, and please "
                        "report this model",
                        breach.pass)};
  }

  const Options& o_;
  const Streams& streams_;
  std::string output_;
  std::vector<ReportTarget> targets_;
  std::vector<std::string> notes_;
  Progress progress_;
};

Run add(CLI::App& command) {
  auto options = std::make_shared<Options>();
  add_flags(command, *options);
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
